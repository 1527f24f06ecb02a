"""`make demo`'s script, end to end on the embedded digits."""

import json

import pytest

from tests.examples.example import run_example


@pytest.mark.slow
def test_the_quickstart_measures_teacher_students_and_int8_file(tmp_path):
    shown = run_example("quickstart.py", "--out", tmp_path, "--epochs", 2, 2)
    rows = json.loads((tmp_path / "table.json").read_text())
    teacher, alone, distilled, int8 = rows
    assert alone["parameters"] == distilled["parameters"] < teacher["parameters"] / 10
    assert int8["bytes"] < distilled["bytes"] < teacher["bytes"] / 10
    assert all(0 <= row["accuracy"] <= 1 and row["latency_us"] > 0 for row in rows)
    assert "times smaller" in shown
    assert (tmp_path / "accuracy_and_size.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "table.md").read_text().count("\n") == 6
