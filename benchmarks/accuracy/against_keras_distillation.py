"""Our defaults against plain training and keras.distillation, on Fashion-MNIST.

5,000 images with labels for the student, a teacher trained on 50,000. Learning rate and number of
epochs are tuned for each method alike on 5,000 images that nobody trains on, then the chosen ones
run with every seed and are measured on the test split after the last epoch.
"""

import keras
from keras import distillation

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import (
    Recorded,
    accuracy,
    arrays,
    compile_and_fit,
    convolutional,
    kept,
    sparse_loss,
)

METHODS = {
    "alone": "student alone",
    "keras_default": "`keras.distillation`, `LogitsDistillation()`",
    "keras_kl": "`keras.distillation`, `LogitsDistillation(loss=KLDivergence())`",
    "ours": "`kd.Distiller(student, teacher)`",
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
    chosen = {
        m: done.best("accuracy", ("learning_rate", "epochs"), stage="tune", method=m)
        for m in methods
    }
    final = [
        ({"stage": "test", "method": m, **chosen[m]}, seed)
        for seed in range(seeds)
        for m in methods
    ]
    return tuning + final


def run(cell, seed, quick):
    x, y = arrays("fashion_mnist", "train[:5000]")
    held_out = "train[50000:55000]" if cell["stage"] == "tune" else "test"
    student = student_model(seed)
    recorded = Recorded(teacher(quick), x)
    compile_and_fit(
        build(cell["method"], recorded.student(student), recorded),
        recorded.inputs(x),
        y,
        loss=sparse_loss(),
        learning_rate=cell["learning_rate"],
        epochs=cell["epochs"],
        seed=seed,
    )
    test = arrays("fashion_mnist", held_out)
    return {"accuracy": accuracy(student, *test), "parameters": student.count_params()}


def build(method, student, recorded):
    if method == "alone":
        return student
    if method == "ours":
        return kd.Distiller(student, recorded.teacher)
    loss = keras.losses.KLDivergence() if method == "keras_kl" else None
    logits = (
        distillation.LogitsDistillation(loss=loss) if loss else distillation.LogitsDistillation()
    )
    return distillation.Distiller(
        teacher=recorded.models[0], student=student, distillation_losses=[logits]
    )


def student_model(seed):
    return convolutional("student", (8, 16), 32, seed=seed)


def teacher(quick=False):
    """2.4 M parameters, trained on the first 50,000 images."""

    def make():
        model = convolutional("teacher", (32, 64), 760, dropout=0.4, seed=1000)
        x, y = arrays("fashion_mnist", "train[:50000]")
        compile_and_fit(
            model,
            x,
            y,
            loss=sparse_loss(),
            learning_rate=1e-3,
            epochs=1 if quick else 6,
        )
        return model

    return kept(f"fashion_teacher{'_quick' if quick else ''}", make)


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
