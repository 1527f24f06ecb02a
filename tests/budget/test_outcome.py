"""The end of a search: its choice and its messages."""

from dataclasses import replace

import pytest

from keras_kd.budget import outcome
from keras_kd.budget.compression import BudgetError
from keras_kd.budget.limits import Limits
from keras_kd.budget.plan import Plan
from keras_kd.budget.progress import Progress
from keras_kd.budget.run import Found, Run
from keras_kd.budget.schedule import make_slots
from keras_kd.budget.students import Students
from tests.budget.fakes import config, file, result

TEACHER = {"score": 0.95, "test_score": 0.94, "size": 9000, "latency_us": 40.0, "macs": 3000}


@pytest.fixture
def end(problem, tmp_path, monkeypatch):
    """End a search that found files of the teacher with some scores and sizes."""
    monkeypatch.setattr(outcome, "as_tflite_model", lambda file, problem: file)
    (tmp_path / "trials").mkdir()

    def end(files, results=(), interrupted=False, least=None, **limits):
        written = []
        for i, (score, size) in enumerate(files):
            path = tmp_path / f"{i}.tflite"
            path.write_bytes(bytes([i]) * size)
            written.append(file(score, size, path=path, source="teacher"))
        plan = Plan([], [], [], {**TEACHER, "files": []}, ["A note."], least)
        run = Run(
            *(problem, Limits(**limits), Students(problem.teacher), tmp_path),
            *(2, 0, None, Progress(0), 0.0),
        )
        run = replace(run, folder=tmp_path)
        monkeypatch.setattr(type(run), "writer", type("W", (), {"folder": tmp_path}))
        return outcome.finish(run, Found(plan, list(results), written, interrupted))

    return end


def test_the_chosen_file_is_copied(end, tmp_path):
    (tmp_path / "nearest.tflite").touch()
    found = end([(0.9, 500), (0.93, 900), (0.94, 2000)], max_bytes=1000)
    assert found.best.path == tmp_path / "best.tflite"
    assert found.best.path.read_bytes() == bytes([1]) * 900
    assert found.met
    assert not (tmp_path / "nearest.tflite").exists()
    assert len(found.front) == 3


def test_a_file_beyond_a_limit_is_named_as_such(end, tmp_path):
    message = r"No file was found within 1.0 kB, a drop of 1 points. The nearest one has 500 bytes"
    with pytest.raises(BudgetError, match=message) as error:
        end([(0.9, 500), (0.94, 2000)], max_bytes=1000, max_drop=1)
    assert (tmp_path / "nearest.tflite").stat().st_size == 500
    assert error.value.compression.best.path.name == "nearest.tflite"


def test_the_smallest_student_is_named_if_nothing_is_small_enough(end):
    with pytest.raises(BudgetError, match=r"The smallest one has 500 bytes.*0.8800 \(accuracy"):
        end([(0.9, 500)], least={"size": 500}, max_bytes=100)


def test_without_files_the_reasons_are_named(end):
    slots = make_slots("0", [config()], 1, 0, True)
    failed = result(slots[0], float("-inf"), reason="too large", failed={"int8": "no kernel"})
    with pytest.raises(RuntimeError, match=r"A note. too large 0-00 as int8: no kernel"):
        end([], [failed], max_bytes=100)


def test_what_only_a_running_search_needs_is_deleted(end, tmp_path):
    slots = [
        *make_slots("0", [config()], 1 / 12, 0, False),
        *make_slots("1", [config()], 1, 0, True),
    ]
    for name in ("0-00.keras", "1-00.keras"):
        (tmp_path / "trials" / name).touch()
    (tmp_path / "trials" / "1-00-checkpoints").mkdir()
    results = [result(slot) for slot in slots]
    end([(0.9, 500)], results, interrupted=True, max_bytes=1000)
    assert len(list((tmp_path / "trials").iterdir())) == 3
    end([(0.9, 500)], results, max_bytes=1000)
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["1-00.keras"]
