"""What storing fewer logits costs: bytes, and the accuracy of a student that learns from them.

CIFAR-100, the 12,500 training and 2,500 test images at hand, all 100 classes; they are not split as
the official ones, so these numbers compare with each other only. A convolutional teacher, a student
of about 70,000 parameters, soft targets alone (no labels) at T = 4, 25 epochs, accuracy after the
last epoch.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.results import mean_sd, table
from benchmarks.training import accuracy, arrays, compile_and_fit, convolutional, kept, sparse_loss

CLASSES, EPOCHS, BATCH = 100, 25, 128
STORED = {
    "float32": ({"dtype": "float32"}, "all, float32"),
    "float16": ({}, "all, float16"),
    "top 30": ({"top_k": 30}, "top 30, float16"),
    "top 10": ({"top_k": 10}, "top 10, float16"),
    "top 3": ({"top_k": 3}, "top 3, float16"),
    "top 1": ({"top_k": 1}, "top 1, float16"),
}


def plan(done, seeds, quick):
    stored = ["top 3"] if quick else STORED
    return [({"stored": name}, seed) for seed in range(seeds) for name in stored]


def run(cell, seed, quick):
    x, y = arrays("cifar100", "train[:256]" if quick else "train")
    test = arrays("cifar100", "test[:256]" if quick else "test")
    teacher = kept(f"cifar100_cnn{'_quick' if quick else ''}", lambda: trained_teacher(x, y, quick))
    student = convolutional(
        "student", (16, 32, 64), 32, shape=x.shape[1:], classes=CLASSES, seed=seed
    )
    samples = tf.data.Dataset.from_tensor_slices((x, y))
    with tempfile.TemporaryDirectory() as folder:
        options, _ = STORED[cell["stored"]]
        cache = kd.KnowledgeCache.build(teacher, samples, Path(folder) / "c", verbose=0, **options)
        stored = sum(file.stat().st_size for file in cache.path.glob("0.*.npy"))
        train = cache.join(kd.keyed(samples).shuffle(len(x), seed=seed).batch(BATCH))
        fit(student, cache.teachers, train, seed, len(x), 1 if quick else EPOCHS)
    return {
        "accuracy": accuracy(student, *test),
        "bytes_of_a_sample": stored / len(x),
        "teacher_accuracy": accuracy(teacher, *test),
        "parameters": student.count_params(),
    }


def fit(student, teachers, train, seed, count, epochs):
    distiller = kd.Distiller(student, teachers, kd.losses.SoftTargets(4.0))
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, epochs * int(np.ceil(count / BATCH)))
    keras.utils.set_random_seed(seed)
    distiller.compile(keras.optimizers.Adam(schedule))
    distiller.fit(train, epochs=epochs, verbose=0)


def trained_teacher(x, y, quick):
    model = convolutional(
        "teacher", (64, 128, 256), 256, shape=x.shape[1:], classes=CLASSES, dropout=0.4, seed=1000
    )
    epochs = 1 if quick else 15
    compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=1e-3, epochs=epochs, seed=1000)
    return model


def report(done):
    rows = []
    for name, (_, title) in STORED.items():
        values = done.values("accuracy", stored=name)
        if values:
            stored = done.values("bytes_of_a_sample", stored=name)[0]
            rows.append([title, f"{stored:.0f}", mean_sd(values, 100)])
    teacher = [run["metrics"]["teacher_accuracy"] for run in done.runs]
    if teacher:
        rows.append(["the teacher itself", "", f"{100 * teacher[0]:.2f} (1 run)"])
    return table(["logits stored", "bytes for each sample", "test accuracy %"], rows)
