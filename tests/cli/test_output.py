"""Text and numbers of a result."""

import io
import sys

from keras_kd.cli.output import keras_verbosity, replace_non_finite, table


def test_a_table_aligns_its_first_column_to_the_left_and_the_others_to_the_right():
    text = table(["", "size"], [["int8", "27 kB"], ["float32", "1 kB"]])
    assert text.splitlines() == ["          size", "int8     27 kB", "float32   1 kB"]


def test_non_finite_numbers_become_null():
    values = {"a": [1.0, float("nan")], "b": (float("-inf"), {"c": "x"}), "d": 3}
    assert replace_non_finite(values) == {"a": [1.0, None], "b": [None, {"c": "x"}], "d": 3}


def test_a_progress_bar_needs_a_terminal(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert keras_verbosity() == 2
    terminal.isatty = lambda: True
    assert keras_verbosity() == 1
