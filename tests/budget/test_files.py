"""The files of a search, and the choice among them."""

from pathlib import Path

import keras
import pytest

import keras_kd as kd
from keras_kd.budget.files import (
    CompressedFile,
    FileWriter,
    as_tflite_model,
    is_within,
    pareto_front,
    select,
)
from keras_kd.budget.limits import Limits
from tests.budget.fakes import file


def test_within_a_limit_of_costs_the_most_accurate_file_is_chosen():
    small, best, large = file(0.8, 500), file(0.9, 900), file(0.95, 2000)
    assert select([small, best, large], Limits(max_bytes=1000), 0.96) == best
    assert select([small, best, large], Limits(max_latency_us=10), 0.96) == large


def test_scores_that_hardly_differ_are_equal_and_then_the_smaller_file_is_chosen():
    one, other = file(0.9, 900), file(0.9005, 950)
    assert select([one, other], Limits(max_bytes=1000), 0.96) == one


def test_a_drop_alone_asks_for_the_smallest_file():
    files = [file(0.8, 500), file(0.9, 900), file(0.95, 2000)]
    assert select(files, Limits(max_drop=7), 0.96) == files[1]
    assert select(files, Limits(max_drop=20), 0.96) == files[0]


def test_without_a_file_within_the_limits_the_nearest_one_is_chosen():
    files = [file(0.8, 500), file(0.9, 900), file(0.95, 2000)]
    assert select(files, Limits(max_bytes=1000, max_drop=2), 0.96) == files[1]
    assert select(files, Limits(max_bytes=100), 0.96) == files[0]
    assert select(files, Limits(max_drop=0.5), 0.96) == files[2]


def test_a_file_must_be_within_all_limits():
    assert is_within(file(0.9, 900), Limits(max_bytes=1000, max_drop=6), 0.96)
    assert not is_within(file(0.9, 900), Limits(max_bytes=1000, max_drop=5), 0.96)
    assert not is_within(file(0.9, 900), Limits(max_bytes=800), 0.96)


def test_the_front_has_what_no_other_file_beats():
    small, fast, accurate = file(0.8, 500), file(0.8, 900, 2.0), file(0.9, 900)
    beaten = file(0.8, 901, 10.0)
    assert pareto_front([beaten, accurate, fast, small]) == [small, accurate, fast]


def test_a_file_survives_json():
    one = file(path=Path("folder/a.tflite"))
    found = CompressedFile.from_dict(one.as_dict(Path("folder")), Path("elsewhere"))
    assert found.path == Path("elsewhere/a.tflite")
    assert found.costs == one.costs == {"size": 1000, "latency_us": 10.0, "macs": 5000}


@pytest.mark.usefixtures("fast")
def test_files_are_verified_and_measured(problem, teacher, tmp_path):
    writer = FileWriter(problem, tmp_path)
    (int8,), failed = writer.write(teacher, "teacher", ("int8",))
    assert failed == {}
    assert int8.path == tmp_path / "teacher-int8.tflite"
    assert int8.size == int8.path.stat().st_size
    assert int8.macs == 12 * 48 + 48 * 48 + 48 * 3
    assert int8.model_score == problem.score(teacher)
    assert int8.latency_us > 0
    tested = writer.test(int8)
    evaluated = kd.export.evaluate(int8.path, problem.test.arrays)
    assert tested.test_score == evaluated.accuracy
    assert as_tflite_model(int8, problem).verification == evaluated
    # An untrained model of the same architecture has a file of about the same size.
    costs = writer.measure(keras.models.clone_model(teacher), True)
    assert 0 <= costs["size"] - int8.size <= 256
    assert costs["macs"] == int8.macs
    assert costs["latency_us"] > 0
    assert list(tmp_path.iterdir()) == [int8.path]


@pytest.mark.usefixtures("fast")
def test_a_format_that_fails_is_named(problem, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_kd.budget.files._MAX_LOSS", -100)
    files, failed = FileWriter(problem, tmp_path).write(teacher, "a", ("float32",))
    assert files == []
    assert "points of accuracy" in failed["float32"]
