"""Difference between the logits of a teacher in lower precision and in float32.

Fashion-MNIST: a convolutional teacher of 1.2 million parameters, trained on 10,000 images for 4
epochs, runs on the 10,000 test images in other precisions: computing in bfloat16 and in float16, as
an int8 .tflite file calibrated on 300 training images, and with logits stored in float16.
"""

import tempfile
from pathlib import Path

import numpy as np

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.step_networks import TEACHERS
from benchmarks.shared.training import build_cnn, compile_and_fit, load_arrays, sparse_loss
from keras_kd.models.taps import Tap

OUTPUT = Tap(None, logits=True)
KINDS = {
    "float16_stored": "float32 teacher, stored in float16",
    "bfloat16": '`kd.Teacher(model, dtype="bfloat16")`',
    "float16": '`kd.Teacher(model, dtype="float16")`',
    "int8": "`kd.Teacher.from_tflite`, int8",
}


def plan(done, seeds, quick):
    return [({"data": "fashion_mnist"}, seed) for seed in range(seeds)]


def run(cell, seed, quick):
    count = 256 if quick else 10_000
    x, y = load_arrays("fashion_mnist", f"train[:{count}]")
    x_test, y_test = load_arrays("fashion_mnist", f"test[:{count}]")
    model = build_cnn("teacher", *TEACHERS["28×28×1"], seed=seed)
    epochs = 1 if quick else 4
    compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=1e-3, epochs=epochs, seed=seed)
    exact = teacher_outputs(kd.Teacher(model), x_test)
    metrics = {"accuracy": float(np.mean(exact.argmax(-1) == y_test))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.tflite"
        kd.export.to_tflite(model, path, "int8", x[:300], batch_size=250, max_drop=100.0)
        others = {
            "float16_stored": exact.astype("float16").astype("float32"),
            "bfloat16": teacher_outputs(kd.Teacher(model, dtype="bfloat16"), x_test),
            "float16": teacher_outputs(kd.Teacher(model, dtype="float16"), x_test),
            "int8": teacher_outputs(kd.Teacher.from_tflite(path), x_test),
        }
    for name, logits in others.items():
        metrics[f"{name}_accuracy"] = float(np.mean(logits.argmax(-1) == y_test))
        metrics[f"{name}_agreement"] = float(np.mean(logits.argmax(-1) == exact.argmax(-1)))
        metrics[f"{name}_off"] = float(np.sqrt(np.mean((logits - exact) ** 2)) / exact.std())
        metrics[f"{name}_divergence"] = divergence(exact / 4, logits / 4)
    return metrics


def teacher_outputs(teacher, x):
    watched = teacher.watch([OUTPUT])
    parts = [np.asarray(watched(x[i : i + 250])[OUTPUT]) for i in range(0, len(x), 250)]
    return np.concatenate(parts).astype("float32")


def divergence(one, other):
    """Return the mean KL divergence of two sets of logits in nats."""
    one, other = (z - z.max(-1, keepdims=True) for z in (one, other))
    p, q = (z - np.log(np.exp(z).sum(-1, keepdims=True)) for z in (one, other))
    return float(np.mean(np.sum(np.exp(p) * (p - q), axis=-1)))


def report(done):
    def cell(metric, scale=1.0, digits=2):
        values = [run["metrics"][metric] for run in done.runs]
        return mean_sd(values, scale, digits) if values else ""

    rows = [["float32 teacher", cell("accuracy", 100), "", "", ""]]
    for name, title in KINDS.items():
        rows.append(
            [
                title,
                cell(f"{name}_accuracy", 100),
                cell(f"{name}_agreement", 100),
                cell(f"{name}_off", 100),
                cell(f"{name}_divergence", 1e3, 3),
            ]
        )
    header = [
        "logits of",
        "test accuracy %",
        "same class as float32 %",
        "RMS difference, % of the logits' standard deviation",
        "KL at T = 4, thousandths of a nat",
    ]
    return table(header, rows)
