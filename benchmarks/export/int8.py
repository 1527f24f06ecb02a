"""What int8 costs: the distilled Fashion-MNIST student, as Keras runs it and as LiteRT does.

The student of `against_keras_distillation` with the settings chosen there for our defaults, and its
`.tflite` files, on all 10,000 test images.
"""

import tempfile
from pathlib import Path

import keras_kd as kd
from benchmarks.accuracy.against_keras_distillation import student_model, teacher
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import Recorded, accuracy, arrays, compile_and_fit, sparse_loss
from keras_kd.litert.flatbuffer import flex_ops

FORMATS = ("float32", "float16", "dynamic", "int8")


def plan(done, seeds, quick):
    return [({"student": "fashion_mnist"}, seed) for seed in range(seeds)]


def run(cell, seed, quick):
    x, y = arrays("fashion_mnist", "train[:5000]")
    x_test, y_test = arrays("fashion_mnist", "test")
    student = student_model(seed)
    recorded = Recorded(teacher(quick), x)
    epochs = 1 if quick else 60
    compile_and_fit(
        kd.Distiller(recorded.student(student), recorded.teacher),
        recorded.inputs(x),
        y,
        loss=sparse_loss(),
        learning_rate=1e-2,
        epochs=epochs,
        seed=seed,
    )
    found = {"keras": accuracy(student, x_test, y_test)}
    test = [(x_test[i : i + 500], y_test[i : i + 500]) for i in range(0, len(x_test), 500)]
    with tempfile.TemporaryDirectory() as folder:
        for kind in FORMATS:
            file = kd.export.to_tflite(student, Path(folder) / f"{kind}.tflite", kind, x)
            report = kd.export.evaluate(file, test, student)
            found[f"{kind}_accuracy"] = report.accuracy
            found[f"{kind}_agreement"] = report.agreement
            found[f"{kind}_bytes"] = file.size
            found[f"{kind}_flex_ops"] = len(flex_ops(file.path.read_bytes()))
    return found


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
    header = ["", "test accuracy %", "points lost", "same answer as Keras %", "kB"]
    return table(header, rows)
