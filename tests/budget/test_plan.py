"""What fits is known before anything is trained."""

import keras
import pytest
from keras import layers

from keras_kd.budget.files import FileWriter
from keras_kd.budget.limits import Limits
from keras_kd.budget.plan import Plan, Planner
from keras_kd.budget.schedule import Descent, Halving, Once
from keras_kd.budget.students import Students

pytestmark = pytest.mark.usefixtures("fast")


@pytest.fixture(autouse=True)
def _train_nothing(monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", None)


@pytest.fixture
def make(problem, tmp_path):
    def make(own=(), trials=4, **limits):
        writer = FileWriter(problem, tmp_path)
        students = Students(problem.teacher, own)
        return Planner(problem, Limits(**limits), students, writer, trials, 0).make(), students

    return make


def test_students_fit_into_the_bytes_of_a_real_file(make, problem, tmp_path):
    plan, students = make(max_bytes=4200)
    assert {config.family for config in plan.configs} == {"shrunk", "scaled"}
    for config in plan.configs[:2]:
        student = students.build(config, None, 0)
        size = FileWriter(problem, tmp_path).measure(student, False)["size"]
        assert 0.85 * 4200 < size <= 4200
    assert isinstance(plan.schedule(0), Halving)
    assert Plan.from_dict(plan.as_dict()) == plan
    assert plan.teacher["score"] == problem.score(problem.teacher)


def test_students_fit_into_multiplications(make):
    plan, students = make(max_macs=600)
    for config in plan.configs[:2]:
        assert 450 < students.size(config.family, config.limits).macs <= 600


def test_students_are_shrunk_until_they_are_fast_enough(make, monkeypatch):
    def measure(writer, student, time_it):
        assert time_it
        return {"size": 10, "macs": 10, "latency_us": student.count_params() / 10}

    monkeypatch.setattr(FileWriter, "measure", measure)
    monkeypatch.setattr("keras_kd.budget.plan._BYTES", {})
    plan, students = make(max_latency_us=20)
    student = students.build(plan.configs[0], None, 0)
    assert 100 < student.count_params() <= 200


def test_a_teacher_within_the_limits_needs_no_training(make):
    plan, _ = make(max_bytes=50_000)
    assert plan.configs == []
    assert "The teacher itself fits" in plan.notes[-1]
    assert [file["quantization"] for file in plan.teacher["files"]] == ["int8"]


def test_limits_that_nothing_is_within_train_the_smallest_student_only(make):
    plan, students = make(max_bytes=500)
    (config,) = plan.configs
    assert students.build(config, None, 0).count_params() == students.least("parameters")
    assert plan.least["size"] > 500
    assert isinstance(plan.schedule(0), Once)
    assert all("one channel of each group is too much" in note for note in plan.notes)


def test_a_drop_alone_plans_decreasing_sizes(make):
    plan, students = make(max_drop=1)
    sizes = [size["int8_bytes"] for size in plan.sizes]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] > students.least("int8_bytes")
    assert isinstance(plan.schedule(0), Descent)


def test_own_students_that_do_not_fit_are_left_out(make, monkeypatch):
    monkeypatch.setattr("keras_kd.budget.students._SHRUNK", {})

    def network(units):
        dense = [layers.Dense(units), layers.Dense(3, "softmax")]
        return keras.Sequential([keras.Input((12,)), *dense])

    plan, _ = make([network(900), network(5)], max_bytes=4200)
    families = {config.family for config in plan.configs}
    assert "students[1]" in families
    assert "students[0]" not in families
    assert "students[0] does not fit: its int8 file has" in plan.notes[0]
