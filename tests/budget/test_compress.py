"""From a budget to a file, on a small problem."""

import json

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.budget import run as runs
from tests.budget.conftest import TEST, TRAIN, VALIDATION, compress

pytestmark = pytest.mark.usefixtures("fast")


def test_the_file_is_within_the_budget_and_verified(searched, problem):
    folder, result = searched
    assert result.met
    assert result.best.path == folder / "best.tflite"
    assert result.best.size <= 4200
    assert result.best.verification == kd.export.evaluate(folder / "best.tflite", TEST)
    assert result.chosen.test_score == result.best.verification.accuracy
    assert result.drop == pytest.approx(
        100 * (problem.score(problem.teacher, problem.test) - result.chosen.test_score)
    )
    assert result.test == "100 samples of test data that the search did not use"
    assert all(file.path.exists() for file in result.files)
    assert set(result.front) <= set(result.files)
    assert problem.score(result.student) == result.chosen.model_score


def test_everything_is_on_disk(searched):
    folder, result = searched
    names = {path.name for path in folder.iterdir()}
    assert {"best.tflite", "student.keras", "report.html", "result.json", "study.db"} <= names
    assert "nearest.tflite" not in names
    values = json.loads((folder / "result.json").read_text())
    assert values["met"]
    assert values["chosen"]["size"] == result.best.size
    assert [trial["name"] for trial in values["trials"]] == ["0-00", "0-01", "1-00"]
    assert "a, b, c" in (folder / "report.html").read_text()
    assert {path.name for path in (folder / "trials").iterdir()} == {"1-00.keras"}


def test_a_finished_search_is_not_run_again(searched, teacher, monkeypatch):
    folder, result = searched
    before = (folder / "best.tflite").read_bytes()
    monkeypatch.setattr(kd.Distiller, "fit", None)
    again = compress(teacher, folder, max_bytes=4200, class_names=["a", "b", "c"])
    assert (folder / "best.tflite").read_bytes() == before
    assert again.chosen == result.chosen
    assert again.results == result.results


def test_a_folder_has_one_search(searched, teacher):
    with pytest.raises(ValueError, match=r"other arguments; it differs in \['max_bytes'"):
        compress(teacher, searched[0], max_bytes=4300, class_names=["a", "b", "c"])


def test_an_impossible_budget_ends_early_with_the_smallest_file(teacher, tmp_path):
    with pytest.raises(kd.BudgetError, match=r"No student is within 0.5 kB. The smallest") as error:
        compress(teacher, tmp_path, max_bytes=500)
    result = error.value.compression
    assert not result.met
    assert result.best.path == tmp_path / "nearest.tflite"
    assert f"{result.best.size:,} bytes" in str(error.value)
    assert f"{result.chosen.test_score:.4f} (accuracy" in str(error.value)
    assert [r.slot.name for r in result.results] == ["least-00"]


def test_a_teacher_within_the_limits_is_the_file(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(kd.Distiller, "fit", None)
    result = compress(teacher, tmp_path, max_bytes=50_000, test=None)
    assert result.student is teacher
    assert result.chosen.source == "teacher"
    assert "50 samples of the validation data that the search did not use" in result.test


def test_an_interrupted_search_returns_the_best_so_far_and_goes_on_to_the_same_file(
    searched, teacher, tmp_path, monkeypatch
):
    run, done, names = runs.Search.run, [], ["a", "b", "c"]

    def interrupt(search, slot, trial):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(slot.name)
        return run(search, slot, trial)

    monkeypatch.setattr(runs.Search, "run", interrupt)
    result = compress(teacher, tmp_path, max_bytes=4200, class_names=names)
    assert result.interrupted
    assert result.chosen.source == "0-00"
    assert np.isfinite(result.chosen.test_score)
    monkeypatch.setattr(runs.Search, "run", run)
    again = compress(teacher, tmp_path, max_bytes=4200, class_names=names)
    assert not again.interrupted
    assert again.best.path.read_bytes() == searched[1].best.path.read_bytes()


def test_after_the_time_the_best_so_far_is_trained(teacher, tmp_path):
    result = compress(teacher, tmp_path, max_macs=600, time_limit=0.01)
    assert [r.slot.name for r in result.results] == ["0-00", "late-00"]
    assert result.results[1].slot.part == pytest.approx(1 / 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Pass at least one limit"),
        ({"max_bytes": 1000, "trials": 0}, "`trials` must be a positive number"),
        ({"max_bytes": 1000, "time_limit": -1}, "`time_limit` must be a positive number"),
    ],
)
def test_invalid_arguments_are_rejected(teacher, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        kd.compress(teacher, TRAIN, VALIDATION, path=tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []
