"""Teacher-Class Network on Fashion-MNIST: 8 small students, compared with the authors' 8.

Teacher and students are trained on the first 48,000 training images, as the authors' are.
"""

from benchmarks.teacher_class.networks import build_authors_teacher, build_student
from benchmarks.teacher_class.problem import Problem

WIDTHS = ((8, 2), (16, 2), (20, 1), (24, 2))
WIDE = ((22, 2), (48, 2), (62, 1), (74, 2))


PROBLEM = Problem(
    data="fashion_mnist",
    splits=("train[:48000]", "test"),
    teacher=build_authors_teacher,
    teacher_settings={"learning_rate": 1e-3, "epochs": 6},
    students={"class": lambda: [build_student(WIDTHS, 32) for _ in range(8)]},
    single=lambda: build_student(WIDE, 10),
    mimicry={"class": {"learning_rate": 1e-2, "epochs": 4}},
    tuning={"learning_rate": 3e-3, "epochs": 5},
    titles={
        "teacher": "the authors' teacher",
        "class": "our 8 students",
        "single": "a single student, distilled",
    },
    authors={"teacher": "92.39", "class": "86.15 (their 8 students)"},
)
plan, run, report = PROBLEM.plan, PROBLEM.run, PROBLEM.report
