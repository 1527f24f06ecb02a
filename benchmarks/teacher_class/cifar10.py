"""Teacher-Class Network on the CIFAR-10 subset: 20,000 images for training, 5,000 for the test."""

from benchmarks.shared.training import build_cnn
from benchmarks.teacher_class.networks import build_student
from benchmarks.teacher_class.problem import Problem

SHAPE = (32, 32, 3)
WIDTHS = ((12, 2), (20, 2), (28, 1), (36, 2))
WIDE = ((24, 2), (46, 2), (62, 1), (78, 2))


PROBLEM = Problem(
    data="cifar10",
    teacher=lambda: build_cnn("teacher", (32, 64, 128), 256, SHAPE, dropout=0.5, seed=1000),
    teacher_settings={"learning_rate": 1e-3, "epochs": 12},
    students={"class": lambda: [build_student(WIDTHS, 64, SHAPE) for _ in range(4)]},
    single=lambda: build_student(WIDE, 10, SHAPE),
    mimicry={"class": {"learning_rate": 1e-2, "epochs": 6}},
    tuning={"learning_rate": 5e-3, "epochs": 6},
    titles={
        "teacher": "teacher",
        "class": "4 students",
        "single": "a single student, distilled",
        "whole": "the 4, distilled from the start",
    },
)
plan, run, report = PROBLEM.plan, PROBLEM.run, PROBLEM.report
