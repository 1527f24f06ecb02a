"""Accuracy by number of students and parameters, and with one student missing.

Fashion-MNIST, the authors' teacher, mimicry alone (no labels) on 12,000 images for 6 epochs. The
convolutions are as wide as the number of parameters permits. A missing student is replaced by the
mean of its chunk over 1,000 training images.
"""

import warnings

import keras
import numpy as np

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.teacher_class.data import load_samples
from benchmarks.teacher_class.fashion_mnist import PROBLEM
from benchmarks.teacher_class.networks import build_student
from benchmarks.teacher_class.problem import LAYER, mimic, score

COUNTS = (1, 2, 4, 8)
TOTALS = (30_000, 80_000)
UNITS, HEAD, IMAGES = 256, 2570, 12_000


def plan(done, seeds, quick):
    counts, totals = (COUNTS[1:2], TOTALS[-1:]) if quick else (COUNTS, TOTALS)
    cells = [{"students": n, "parameters": total} for n in counts for total in totals]
    return [(cell, seed) for cell in cells for seed in range(seeds)]


def run(cell, seed, quick):
    x, y = (array[:IMAGES] for array in PROBLEM.training_samples(quick))
    test = load_samples(PROBLEM.data, f"test[:{500 if quick else 10_000}]")
    teacher, n = PROBLEM.load_teacher(quick), cell["students"]
    recorded = PROBLEM.record_teacher(LAYER, quick, IMAGES)
    widths = find_widths((cell["parameters"] - HEAD) // n, UNITS // n)
    keras.utils.set_random_seed(seed)
    students = [build_student(widths, UNITS // n) for _ in range(n)]
    mimic(recorded, x, y, students, seed=seed, learning_rate=1e-2, epochs=1 if quick else 6)
    model = kd.TeacherClass.assemble_from(teacher, LAYER, students)
    metrics = {"accuracy": score(model, *test), "parameters": model.count_params()}
    if n > 1 and cell["parameters"] == TOTALS[-1]:
        metrics["lost"] = [
            score(assemble_without(i, teacher, students, x), *test) for i in range(n)
        ]
    return metrics


def find_widths(budget, size):
    """Return the widest convolutions for a student of at most `budget` parameters."""
    widths = None
    for scale in np.arange(1, 12, 0.1):
        a, b, c, d = (round(scale * width) for width in (4, 8, 10, 12))
        convolutions = 25 * a + 9 * (a * b + b * c + c * d) + 4 * (a + b + c + d)
        if convolutions + (d + 1) * size > budget:
            break
        widths = ((a, 2), (b, 2), (c, 1), (d, 2))
    return widths


def assemble_without(missing, teacher, students, x):
    """Return the network without one of its students."""
    present = [None if i == missing else student for i, student in enumerate(students)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kd.TeacherClass.assemble_from(teacher, LAYER, present, data=x[:1000])


def report(done):
    sizes = [
        [f"{total:,}", *(_cell(done, students=n, parameters=total) for n in COUNTS)]
        for total in TOTALS
    ]
    missing = []
    for n in COUNTS[1:]:
        runs = done.where(students=n, parameters=TOTALS[-1])
        if runs:
            scores = [run["metrics"]["lost"] for run in runs]
            row = [mean_sd([f(one) for one in scores], 100) for f in (np.mean, np.min, np.max)]
            missing.append([n, _cell(done, students=n, parameters=TOTALS[-1]), *row])
    header = [f"{n} student{'s' if n > 1 else ''}" for n in COUNTS]
    return "\n\n".join(
        [
            table(["test accuracy %, parameters up to", *header], sizes),
            table(["students", "none missing", "one missing, mean", "worst", "best"], missing),
        ]
    )


def _cell(done, **cell):
    values = done.values("accuracy", **cell)
    return mean_sd(values, 100) if values else ""
