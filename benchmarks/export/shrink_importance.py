"""What decides which channels remain: weights, the loss, or chance.

Fashion-MNIST: three networks, with a teacher of 10,000 images for each seed. Each is shrunk with
every importance. Accuracies on 5,000 test images: at once, and at one ratio after a distillation on
5,000 of the images. `"random"` at once is the mean of several seeds.
"""

import numpy as np

import keras_kd as kd
from benchmarks.export.shrink import random_copy
from benchmarks.export.shrink_networks import build_plain, build_resnet
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    build_cnn,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)

RATIOS, DISTILLED = (0.75, 0.5, 0.25), 0.5
IMPORTANCES = ("magnitude", "taylor", "random")
TEACHER_EPOCHS, EPOCHS, RATE, DRAWS = 4, 3, 3e-3, 4
#: Images that `"taylor"` reads.
SAMPLES = 2000


def build_normalized(shape):
    """Return the plain network with a normalization after each convolution."""
    return build_cnn("cnn", (16, 32), 256, shape, dropout=0.4, norm=True)


NETWORKS = {"CNN": build_plain, "CNN, normalized": build_normalized, "ResNet": build_resnet}


def plan(done, seeds, quick):
    names = ("CNN",) if quick else NETWORKS
    return [({"network": name}, seed) for name in names for seed in range(seeds)]


def run(cell, seed, quick):
    x, y = load_arrays("fashion_mnist", "train[:5000]")
    x_test, y_test = load_arrays("fashion_mnist", "test[:5000]")
    teacher = load(cell["network"], seed, quick)
    recorded = RecordedTeachers(teacher, x)
    metrics = {"accuracy": accuracy(teacher, x_test, y_test)}

    def shrink(importance, ratio, draw):
        options = {"seed": 100 * seed + draw}
        if importance == "taylor":
            data = (x[:SAMPLES], y[:SAMPLES])
            options = {"data": data, "loss": sparse_loss(), "batch_size": 128}
        return kd.compression.shrink(teacher, ratio, importance=importance, **options).model

    for importance in IMPORTANCES:
        for ratio in RATIOS:
            draws = range(DRAWS if importance == "random" and not quick else 1)
            students = [shrink(importance, ratio, draw) for draw in draws]
            found = [accuracy(student, x_test, y_test) for student in students]
            metrics[f"{importance} {ratio:g}"] = float(np.mean(found))
            if ratio == DISTILLED:
                distill(students[0], recorded, x, y, seed, 1 if quick else EPOCHS)
                metrics[f"{importance} distilled"] = accuracy(students[0], x_test, y_test)
    return metrics


def distill(student, recorded, x, y, seed, epochs):
    distiller = kd.Distiller(recorded.student(student), recorded.teacher, kd.losses.SoftTargets())
    settings = {"loss": sparse_loss(), "learning_rate": RATE, "epochs": epochs, "seed": seed}
    compile_and_fit(distiller, recorded.inputs(x), y, **settings)


def load(name, seed, quick):
    """Return a trained teacher, another one for each seed."""

    def train():
        x, y = load_arrays("fashion_mnist", "train[:10000]")
        model = random_copy(NETWORKS[name](x.shape[1:]), seed)
        epochs = 1 if quick else TEACHER_EPOCHS
        loss, rate = sparse_loss(), 3e-3
        compile_and_fit(model, x, y, loss=loss, learning_rate=rate, epochs=epochs, seed=seed)
        return model

    network = name.lower().replace(", ", "_")
    return load_or_train(f"shrink_importance_{network}_{seed}{'_quick' if quick else ''}", train)


def report(done):
    kinds = [*(f"{ratio:g}" for ratio in RATIOS), "distilled"]
    rows = [
        [
            name,
            kind if kind != "distilled" else f"{DISTILLED:g}, distilled",
            len(done.where(network=name)),
        ]
        + [
            mean_sd(done.values(f"{importance} {kind}", network=name), 100, 1)
            for importance in IMPORTANCES
        ]
        for name in NETWORKS
        if done.where(network=name)
        for kind in kinds
    ]
    header = ["network", "ratio", "seeds", *(f"{importance} %" for importance in IMPORTANCES)]
    return table(header, rows) if rows else ""
