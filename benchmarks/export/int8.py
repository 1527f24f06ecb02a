"""Accuracy of the distilled Fashion-MNIST student in Keras and as .tflite files.

The student of `against_keras_distillation` with the best settings for our defaults, and its files,
on all 10,000 test images.
"""

import tempfile
from pathlib import Path

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.fashion_mnist import DATA, build_student, load_teacher, student_images
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    compile_and_fit,
    load_arrays,
    sparse_loss,
    to_batches,
)
from keras_kd.litert.flatbuffer import flex_ops

FORMATS = ("float32", "float16", "dynamic", "int8")


def plan(done, seeds, quick):
    return [({"student": "fashion_mnist"}, seed) for seed in range(seeds)]


def run(cell, seed, quick):
    x, y = student_images()
    x_test, y_test = load_arrays(DATA, "test")
    student = build_student(seed)
    recorded = RecordedTeachers(load_teacher(quick), x)
    epochs = 1 if quick else 60
    compile_and_fit(
        kd.Distiller(recorded.student(student), recorded.teacher, kd.losses.SoftTargets()),
        recorded.inputs(x),
        y,
        loss=sparse_loss(),
        learning_rate=1e-2,
        epochs=epochs,
        seed=seed,
    )
    metrics = {"keras": accuracy(student, x_test, y_test)}
    test = to_batches(x_test, y_test)
    with tempfile.TemporaryDirectory() as folder:
        for kind in FORMATS:
            file = kd.export.to_tflite(student, Path(folder) / f"{kind}.tflite", kind, x)
            report = kd.export.evaluate(file, test, student)
            metrics[f"{kind}_accuracy"] = report.accuracy
            metrics[f"{kind}_agreement"] = report.agreement
            metrics[f"{kind}_bytes"] = file.size
            metrics[f"{kind}_flex_ops"] = len(flex_ops(file.path.read_bytes()))
    return metrics


def report(done):
    if not done.runs:
        return ""
    rows = [["Keras", mean_sd(done.values("keras"), 100), "", "", ""]]
    for kind in FORMATS:
        drops = zip(done.values("keras"), done.values(f"{kind}_accuracy"), strict=True)
        rows.append(
            [
                kind,
                mean_sd(done.values(f"{kind}_accuracy"), 100),
                mean_sd([keras - tflite for keras, tflite in drops], 100),
                mean_sd(done.values(f"{kind}_agreement"), 100),
                mean_sd(done.values(f"{kind}_bytes"), 1e-3, 1),
            ]
        )
    header = ["", "test accuracy %", "points lost", "same class as Keras %", "kB"]
    return table(header, rows)
