"""Teacher-Class Network on MNIST: the authors' own architectures, then better students.

Teacher and students are trained on the first 48,000 training images, as the authors' are. Their
students are trained for 3 epochs here, not for 10 or 20.
"""

from benchmarks.teacher_class.networks import (
    build_authors_student,
    build_authors_teacher,
    build_student,
)
from benchmarks.teacher_class.problem import Problem

WIDTHS = ((10, 2), (20, 2), (28, 1), (32, 2))
WIDE = ((20, 2), (46, 2), (59, 1), (72, 2))
THEIRS = {"learning_rate": 2e-3, "epochs": 3}

PROBLEM = Problem(
    data="mnist",
    splits=("train[:48000]", "test"),
    teacher=build_authors_teacher,
    teacher_settings={"learning_rate": 1e-3, "epochs": 6},
    students={
        "authors_4": lambda: [build_authors_student(64, filters=32, hidden=16) for _ in range(4)],
        "class": lambda: [build_student(WIDTHS, 64) for _ in range(4)],
    },
    single=lambda: build_student(WIDE, 10),
    mimicry={
        "authors_4": THEIRS,
        "class": {"learning_rate": 1e-2, "epochs": 4},
    },
    tuning={"learning_rate": 3e-3, "epochs": 5},
    titles={
        "teacher": "the authors' teacher",
        "authors_4": "their 4 students of 21,712",
        "class": "our 4 students",
        "single": "a single student, distilled",
    },
    authors={
        "teacher": "98.99",
        "authors_4": "98.42 (79,146 parameters)",
    },
)
plan, run, report = PROBLEM.plan, PROBLEM.run, PROBLEM.report
