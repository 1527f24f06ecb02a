"""The compatibility table: its cells, and what counts as a raw error."""

import numpy as np
import pytest

import keras_kd as kd
from benchmarks.export import compatibility
from benchmarks.runner.results import Done


def error_of(function):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (any error)
        function()
    return compatibility.describe(caught.value)


def test_an_error_of_another_library_is_marked():
    own = error_of(lambda: kd.losses.get("nothing"))
    assert own
    assert not own.startswith("RAW")
    found = error_of(lambda: np.zeros(3).reshape(2, 2))
    assert found.startswith("RAW ValueError in test_compatibility.py: cannot reshape")


def test_the_report_counts_cells_that_work():
    done = Done()
    cells = dict.fromkeys(compatibility.STEPS, compatibility.WORKS)
    done.add({"group": "Keras guides", "model": "U-Net"}, 0, cells, 60)
    done.add({"group": "Keras guides", "model": "ConvLSTM"}, 0, {**cells, "QAT": "No | way"}, 60)
    report = compatibility.report(done)
    assert "| U-Net | works |" in report
    assert "No / way" in report
    assert "2 models in 2 minutes" in report
    assert "14 of 14 without pruning and QAT, 3 of 4 of pruning and QAT" in report


def test_there_are_models_of_each_source():
    sizes = {group: len(models) for group, models in compatibility.GROUPS.items()}
    assert sizes["keras.applications"] == 12
    assert sizes["Keras guides"] == 16
    assert sizes.get("KerasHub", 15) == 15
