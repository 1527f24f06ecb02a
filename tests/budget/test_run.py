"""One call of `compress`: its folder and what the search found."""

import pytest

from keras_kd.budget.limits import Limits
from keras_kd.budget.plan import Plan
from keras_kd.budget.progress import Progress
from keras_kd.budget.run import Run, files_from_teacher
from keras_kd.budget.students import Students
from tests.budget.fakes import file


@pytest.fixture
def run(problem, tmp_path):
    def run(seed):
        students = Students(problem.teacher)
        limits = Limits(max_bytes=4200)
        return Run(problem, limits, students, tmp_path, 2, seed, None, Progress(0), 0.0)

    return run


def test_a_search_is_described_by_everything_it_depends_on(run, tmp_path):
    about = run(0).describe({"labels": True})
    assert run(0).describe({"labels": True}) == about
    assert {"teacher", "train", "validation", "test", "max_bytes", "seed", "labels"} <= set(
        about["arguments"]
    )
    with pytest.raises(ValueError, match=r"differs in \['labels', 'seed'\].*Pass another path"):
        run(1).describe({"labels": False})
    assert (tmp_path / "files").is_dir()


def test_files_of_the_teacher_are_in_the_folder(tmp_path):
    one = file(path=tmp_path / "teacher-int8.tflite", source="teacher")
    plan = Plan([], [], [], {"files": [one.as_dict(tmp_path)]}, [])
    assert files_from_teacher(plan, tmp_path) == [one]
