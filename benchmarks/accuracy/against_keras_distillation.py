"""Defaults of kd.Distiller compared with plain training and keras.distillation, Fashion-MNIST.

Learning rate and number of epochs are tuned in the same way for each method, on 5,000 validation
images. The best settings then run with every seed and are measured on the test split after the last
epoch. For the images and the teacher see shared/fashion_mnist.py.
"""

import keras
from keras import distillation

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

METHODS = {
    "alone": "student alone",
    "keras_default": "`keras.distillation`, `LogitsDistillation()`",
    "keras_kl": "`keras.distillation`, `LogitsDistillation(loss=KLDivergence())`",
    "ours": "`kd.Distiller(student, teacher, kd.losses.SoftTargets())`",
}
RATES = (2e-3, 5e-3, 1e-2)
EPOCHS = (20, 60)


def plan(done, seeds, quick):
    rates, epochs = (RATES[-1:], (1,)) if quick else (RATES, EPOCHS)
    methods = ("keras_kl", "ours") if quick else METHODS
    tuning = [
        ({"stage": "tune", "method": m, "learning_rate": r, "epochs": e}, seed)
        for m in methods
        for r in rates
        for e in epochs
        for seed in ((100,) if quick else (100, 101))
    ]
    if any(job not in done for job in tuning):
        return tuning
    best = {
        m: done.best("accuracy", ("learning_rate", "epochs"), stage="tune", method=m)
        for m in methods
    }
    final = [
        ({"stage": "test", "method": m, **best[m]}, seed) for seed in range(seeds) for m in methods
    ]
    return tuning + final


def run(cell, seed, quick):
    x, y = student_images()
    student = build_student(seed)
    recorded = RecordedTeachers(load_teacher(quick), x)
    compile_and_fit(
        build_model(cell["method"], recorded.student(student), recorded),
        recorded.inputs(x),
        y,
        loss=sparse_loss(),
        learning_rate=cell["learning_rate"],
        epochs=cell["epochs"],
        seed=seed,
    )
    held_out = load_arrays(DATA, VALIDATION if cell["stage"] == "tune" else "test")
    return {"accuracy": accuracy(student, *held_out), "parameters": student.count_params()}


def build_model(method, student, recorded):
    if method == "alone":
        return student
    if method == "ours":
        return kd.Distiller(student, recorded.teacher, kd.losses.SoftTargets())
    if method == "keras_kl":
        logits = distillation.LogitsDistillation(loss=keras.losses.KLDivergence())
    else:
        logits = distillation.LogitsDistillation()
    return distillation.Distiller(
        teacher=recorded.models[0], student=student, distillation_losses=[logits]
    )


def report(done):
    rows = []
    for method, title in METHODS.items():
        runs = done.where(stage="test", method=method)
        if runs:
            cell = runs[0]["cell"]
            values = done.values("accuracy", stage="test", method=method)
            setting = f"{cell['learning_rate']:g}, {cell['epochs']} epochs"
            rows.append([title, setting, mean_sd(values, 100), len(values)])
    return table(["method", "learning rate, epochs (tuned)", "test accuracy %", "seeds"], rows)
