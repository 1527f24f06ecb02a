"""Validation accuracy by temperature and weight of the labels, to choose the defaults.

Fashion-MNIST, images and teacher of shared/fashion_mnist.py. Every accuracy is on the 5,000
validation images; the test split is not used.
"""

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.fashion_mnist import (
    DATA,
    VALIDATION,
    build_student,
    load_teacher,
    student_images,
)
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    compile_and_fit,
    load_arrays,
    sparse_loss,
)

TEMPERATURES = (1.0, 2.0, 4.0)
LABEL_WEIGHTS = (0.0, 0.1, 0.5, 1.0)
RATES = (1e-2,)


def plan(done, seeds, quick):
    grid = [(t, w, r) for t in TEMPERATURES for w in LABEL_WEIGHTS for r in RATES]
    cells = [
        {"temperature": t, "student_loss_weight": w, "learning_rate": r}
        for t, w, r in (grid[:1] if quick else grid)
    ]
    return [(cell, 200 + seed) for cell in cells for seed in range(min(seeds, 3))]


def run(cell, seed, quick):
    x, y = student_images()
    student = build_student(seed)
    recorded = RecordedTeachers(load_teacher(quick), x)
    loss = kd.losses.SoftTargets(cell["temperature"])
    weight = cell["student_loss_weight"]
    compile_and_fit(
        kd.Distiller(recorded.student(student), recorded.teacher, loss, weight),
        recorded.inputs(x),
        y,
        loss=sparse_loss(),
        learning_rate=cell["learning_rate"],
        epochs=1 if quick else 60,
        seed=seed,
    )
    return {"accuracy": accuracy(student, *load_arrays(DATA, VALIDATION))}


def report(done):
    rows = []
    for temperature in TEMPERATURES:
        row = [f"T = {temperature:g}"]
        for weight in LABEL_WEIGHTS:
            where = {"temperature": temperature, "student_loss_weight": weight}
            if done.where(**where):
                best = done.best("accuracy", ("learning_rate",), **where)
                row.append(mean_sd(done.values("accuracy", **where, **best), 100))
        rows.append(row)
    header = ["validation accuracy %", *(f"label weight {w:g}" for w in LABEL_WEIGHTS)]
    return table(header, rows)
