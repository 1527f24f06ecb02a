"""The Teacher-Class Network on Fashion-MNIST: 8 small students against the authors' 8.

Teacher and students learn from the first 48,000 training images, as the authors' do.
"""

from benchmarks.teacher_class.networks import authors_teacher, blocks
from benchmarks.teacher_class.problem import Problem

WIDTHS = ((8, 2), (16, 2), (20, 1), (24, 2))
WIDE = ((22, 2), (48, 2), (62, 1), (74, 2))


PROBLEM = Problem(
    data="fashion_mnist",
    splits=("train[:48000]", "test"),
    teacher=authors_teacher,
    teacher_settings={"learning_rate": 1e-3, "epochs": 6},
    students={"class": lambda: [blocks(WIDTHS, 32) for _ in range(8)]},
    single=lambda: blocks(WIDE, 10),
    mimicry={"class": {"learning_rate": 1e-2, "epochs": 4}},
    tuning={"learning_rate": 3e-3, "epochs": 5},
    titles={
        "teacher": "the authors' teacher",
        "class": "8 students of ours",
        "single": "a single student, distilled",
    },
    authors={"teacher": "92.39", "class": "86.15 (8 students of theirs)"},
)
plan, run, report = PROBLEM.plan, PROBLEM.run, PROBLEM.report
