"""The trainings of a search, one by one."""

import keras
import numpy as np
import optuna
import pytest
from keras import layers

from keras_kd.budget.files import FileWriter
from keras_kd.budget.limits import Limits
from keras_kd.budget.recipe import Recipe
from keras_kd.budget.schedule import make_slots
from keras_kd.budget.search import (
    Search,
    describe,
    files_of,
    load_student,
    seconds_per_part,
    student_path,
)
from keras_kd.budget.students import Students
from tests.budget.fakes import config, configs, result

pytestmark = pytest.mark.usefixtures("fast")


@pytest.fixture
def search(problem, tmp_path):
    def search(own=(), limits=None):
        for name in ("files", "trials"):
            (tmp_path / name).mkdir()
        writer = FileWriter(problem, tmp_path / "files")
        arguments = problem, limits or Limits(max_bytes=4200), Students(problem.teacher, own)
        return Search(*arguments, writer, Recipe(problem, tmp_path), tmp_path, 0.95)

    return search


def slot(final, **changes):
    (found,) = make_slots("0", [config(**changes)], 0.5, 0, final)
    return found


def trial(**params):
    return optuna.trial.FixedTrial(params)


def test_a_final_training_writes_files_and_its_student_can_be_loaded(search, problem):
    searching = search()
    final = slot(True, name="shrunk", limits={"int8_bytes": 3900.0})
    found = searching.run(final, trial())
    files = files_of([found], searching.writer.folder)
    assert [file.quantization for file in files] == ["int8"]
    assert all(file.path.exists() and file.test_score is not None for file in files)
    assert found.score == max(file.score for file in files if file.size <= 4200)
    student = searching.load_student(found)
    assert problem.score(student) == found.values["keras_score"] == files[0].model_score


def test_a_builder_gets_the_trial_and_what_does_not_fit_is_not_trained(search, monkeypatch):
    def build(trial):
        width = trial.suggest_int("width", 1, 999)
        dense = [layers.Dense(width), layers.Dense(3, "softmax")]
        return keras.Sequential([keras.Input((12,)), *dense])

    searching = search([build])
    found = searching.run(slot(False, name="students[0]"), trial(width=4))
    assert np.isfinite(found.score)
    assert found.values["params"] == {"width": 4}
    assert "files" not in found.values
    later = slot(False, name="students[0]", params={"width": 5})
    assert searching.run(later, trial(width=4)).values["params"] == {"width": 5}
    monkeypatch.setattr(keras.Model, "fit", None)
    large = searching.run(slot(False, name="students[0]"), trial(width=900))
    assert large.score == float("-inf")
    assert "its int8 file does not fit" in large.values["reason"]


def test_a_student_with_another_output_is_rejected(search):
    other = keras.Sequential([keras.Input((12,)), layers.Dense(4)])
    with pytest.raises(ValueError, match="an output of the teacher's shape"):
        search([other]).run(slot(False, name="students[0]"), trial())


def test_int8_that_costs_too_much_is_trained_with_rounding(search, monkeypatch):
    searching = search(limits=Limits(max_bytes=4200, max_drop=-0.0))
    monkeypatch.setattr(Limits, "drop", -1000.0)
    found = searching.run(slot(True, name="shrunk", limits={"int8_bytes": 3900.0}), trial())
    files = files_of([found], searching.writer.folder)
    assert [f.quantization_aware for f in files] == [False, True]
    assert files[-1].path.name == "0-00-int8-aware.tflite"


def test_limits_that_are_too_small_train_nothing(search, monkeypatch):
    searching = search()
    monkeypatch.setattr(keras.Model, "fit", None)
    found = searching.run(slot(False, name="shrunk", limits={"parameters": 3.0}), trial())
    assert found.values["reason"] == "no student is as small"


def test_the_time_of_a_full_training_follows_from_those_that_were_measured(tmp_path):
    slots = make_slots("0", configs(3), 0.25, 0, False)
    results = [result(one, seconds=2.0) for one in slots[:2]]
    assert seconds_per_part([*results, result(slots[2], seconds=None)]) == 8
    assert seconds_per_part([]) is None
    assert describe({"width": 3, "depth": 2}) == "width=3, depth=2"
    assert student_path(tmp_path, "0-01") == tmp_path / "trials" / "0-01.keras"
    assert callable(load_student)
