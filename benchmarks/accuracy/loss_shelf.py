"""Every loss with the same student and budget, with the settings of its paper and with ours.

Fashion-MNIST and the CIFAR-10 subset, 5,000 labeled images, 40 epochs of Adam with a cosine
schedule from 5e-3, test accuracy after the last epoch. The teachers had more images (50,000 and
20,000). "paper": the loss together with the labels, weighted as in its paper or in the reference
code for CIFAR-100. "ours": the defaults of `kd.Distiller`; a loss on features is added to
`SoftTargets()`.
"""

from functools import partial

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.fashion_mnist import build_student, load_teacher
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    build_cnn,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)

RATE = 5e-3
EPOCHS = 40
MAPS, VECTORS = "block2", "features"
L = kd.losses


def on_logits(make, weight=1.0):
    return make(weight=weight, teacher_tap="logits")


def on_features(make, tap, weight=1.0):
    return make(tap, f"student/{tap}", weight=weight)


def standardized(weight):
    return L.LogitStandardization(on_logits(partial(L.SoftTargets, 2.0), weight))


#: By loss: the paper's setting (loss, weight of the labels), our loss, and its tap if on features.
SHELF = {
    "SoftTargets": (
        lambda: (on_logits(partial(L.SoftTargets, 4.0), 0.9), 0.1),
        L.SoftTargets,
        None,
    ),
    "LogitsMSE": (lambda: (on_logits(L.LogitsMSE), 0.0), L.LogitsMSE, None),
    "DecoupledKD": (lambda: (on_logits(partial(L.DecoupledKD, 1, 8, 4)), 1.0), L.DecoupledKD, None),
    "NormalizedKD": (lambda: (on_logits(L.NormalizedKD), 1.0), L.NormalizedKD, None),
    "DIST": (lambda: (on_logits(partial(L.DIST, 2, 2, 4)), 1.0), L.DIST, None),
    "LogitStandardization": (lambda: (standardized(9.0), 0.1), None, None),
    "Hint": (lambda: (on_features(L.Hint, MAPS, 100), 1.0), L.Hint, MAPS),
    "AttentionTransfer": (
        lambda: (on_features(L.AttentionTransfer, MAPS, 1000), 1.0),
        L.AttentionTransfer,
        MAPS,
    ),
    "NeuronSelectivity": (
        lambda: (on_features(L.NeuronSelectivity, MAPS, 50), 1.0),
        L.NeuronSelectivity,
        MAPS,
    ),
    "SimilarityPreserving": (
        lambda: (on_features(L.SimilarityPreserving, MAPS, 3000), 1.0),
        L.SimilarityPreserving,
        MAPS,
    ),
    "RelationalKD": (lambda: (on_features(L.RelationalKD, VECTORS), 1.0), L.RelationalKD, VECTORS),
    "ProbabilisticTransfer": (
        lambda: (on_features(L.ProbabilisticTransfer, VECTORS, 30000), 1.0),
        L.ProbabilisticTransfer,
        VECTORS,
    ),
    "ContrastiveRepresentation": (
        lambda: (on_features(L.ContrastiveRepresentation, VECTORS, 0.8), 1.0),
        L.ContrastiveRepresentation,
        VECTORS,
    ),
}


def plan(done, seeds, quick):
    shelf, settings = (list(SHELF)[::6], ("ours",)) if quick else (SHELF, ("paper", "ours"))
    cells = [{"data": "fashion_mnist", "loss": "alone", "settings": "paper"}]
    cells += [
        {"data": "fashion_mnist", "loss": loss, "settings": setting}
        for loss in shelf
        for setting in settings
    ]
    if not quick:
        cells += [{"data": "cifar10", "loss": "alone", "settings": "paper"}]
        cells += [{"data": "cifar10", "loss": loss, "settings": "paper"} for loss in SHELF]
        cells += [{"data": "cifar10", "loss": "SoftTargets", "settings": "ours"}]
    return [(cell, seed) for cell in cells for seed in range(seeds)]


def run(cell, seed, quick):
    data = cell["data"]
    x, y = load_arrays(data, "train[:5000]")
    student, teacher = load_models(data, seed, quick)
    recorded = RecordedTeachers(teacher, x, taps=(MAPS, VECTORS, "logits"))
    losses, label_weight = build_losses(cell)
    model = student
    if losses:
        model = kd.Distiller(recorded.student(student), recorded.teacher, losses, **label_weight)
        x = recorded.inputs(x)
    epochs = 1 if quick else EPOCHS
    compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=RATE, epochs=epochs, seed=seed)
    return {"accuracy": accuracy(student, *load_arrays(data, "test"))}


def load_models(data, seed, quick):
    if data == "fashion_mnist":
        return build_student(seed), load_teacher(quick)
    student = build_cnn("student", (8, 16, 32), 32, (32, 32, 3), seed=seed)
    return student, load_or_train("cifar10_teacher", train_cifar10_teacher)


def train_cifar10_teacher():
    """Train a teacher of 0.62 M parameters on the 20,000 images of the subset."""
    model = build_cnn("teacher", (32, 64, 128), 256, (32, 32, 3), dropout=0.5, seed=1000)
    x, y = load_arrays("cifar10", "train")
    compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=1e-3, epochs=15)
    return model


def build_losses(cell):
    if cell["loss"] == "alone":
        return [], {}
    paper, ours, tap = SHELF[cell["loss"]]
    if cell["settings"] == "paper":
        loss, weight = paper()
        return [loss], {"student_loss_weight": weight}
    if cell["loss"] == "LogitStandardization":
        return [standardized(1.0)], {}
    if tap is None:
        return [on_logits(ours)], {}
    return [on_logits(L.SoftTargets), on_features(ours, tap)], {}


def report(done):
    rows = []
    columns = [
        ("fashion_mnist", "paper"),
        ("fashion_mnist", "ours"),
        ("cifar10", "paper"),
        ("cifar10", "ours"),
    ]
    for loss in ("alone", *SHELF):
        row = ["student alone" if loss == "alone" else f"`{loss}`"]
        for data, kind in columns:
            values = done.values("accuracy", data=data, loss=loss, settings=kind)
            row.append(mean_sd(values, 100) if values else "")
        rows.append(row)
    titles = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
    header = ["test accuracy %", *(f"{titles[data]}, {kind}" for data, kind in columns)]
    return table(header, rows)
