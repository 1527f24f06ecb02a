"""Size and accuracy if a cache stores only the largest logits.

CIFAR-100, the available 12,500 training and 2,500 test images, all 100 classes. The split is not
the official one, so the numbers are comparable with each other only. A convolutional teacher, a
student of about 60,000 parameters, soft targets alone (no labels), 8 epochs, accuracy after the
last. At a temperature of 4 the many small probabilities have more weight than at 1.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import (
    accuracy,
    build_cnn,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)

CLASSES, EPOCHS, BATCH = 100, 8, 128
TEMPERATURES = (1.0, 4.0)
STORED = {
    "float16": ({}, "all, float16"),
    "top 30": ({"top_k": 30}, "top 30, float16"),
    "top 5": ({"top_k": 5}, "top 5, float16"),
}


def plan(done, seeds, quick):
    stored, temperatures = (["top 5"], [4.0]) if quick else (STORED, TEMPERATURES)
    cells = [{"stored": name, "temperature": t} for name in stored for t in temperatures]
    return [(cell, seed) for seed in range(seeds) for cell in cells]


def run(cell, seed, quick):
    x, y = load_arrays("cifar100", "train")
    test = load_arrays("cifar100", "test")
    teacher = load_or_train(
        f"cifar100_cnn{'_quick' if quick else ''}", lambda: train_teacher(x, y, quick)
    )
    student = build_cnn(
        "student", (16, 32, 64), 32, shape=x.shape[1:], classes=CLASSES, norm=True, seed=seed
    )
    samples = tf.data.Dataset.from_tensor_slices((x, y))
    with tempfile.TemporaryDirectory() as folder:
        options, _ = STORED[cell["stored"]]
        cache = kd.KnowledgeCache.build(teacher, samples, Path(folder) / "c", verbose=0, **options)
        stored = sum(file.stat().st_size for file in cache.path.glob("0.*.npy"))
        train = cache.join(kd.keyed(samples).shuffle(len(x), seed=seed).batch(BATCH))
        loss = kd.losses.SoftTargets(cell["temperature"])
        fit(student, cache.teachers, loss, train, seed, len(x), 1 if quick else EPOCHS)
    return {
        "accuracy": accuracy(student, *test),
        "bytes_of_a_sample": stored / len(x),
        "teacher_accuracy": accuracy(teacher, *test),
        "parameters": student.count_params(),
    }


def fit(student, teachers, loss, train, seed, count, epochs):
    distiller = kd.Distiller(student, teachers, loss)
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, epochs * int(np.ceil(count / BATCH)))
    keras.utils.set_random_seed(seed)
    distiller.compile(keras.optimizers.Adam(schedule))
    distiller.fit(train, epochs=epochs, verbose=0)


def train_teacher(x, y, quick):
    model = build_cnn(
        "teacher", (64, 128, 256), 256, shape=x.shape[1:], classes=CLASSES, dropout=0.4, seed=1000
    )
    epochs = 1 if quick else 15
    compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=1e-3, epochs=epochs, seed=1000)
    return model


def report(done):
    rows = []
    for name, (_, title) in STORED.items():
        if done.where(stored=name):
            stored = done.values("bytes_of_a_sample", stored=name)[0]
            cells = [done.values("accuracy", stored=name, temperature=t) for t in TEMPERATURES]
            rows.append([title, f"{stored:.0f}", *(mean_sd(c, 100) if c else "" for c in cells)])
    teacher = [run["metrics"]["teacher_accuracy"] for run in done.runs]
    if teacher:
        rows.append(["the teacher", "", *[f"{100 * teacher[0]:.2f} (1 run)"] * 2])
    header = [f"test accuracy % at T = {t:g}" for t in TEMPERATURES]
    return table(["logits stored", "bytes per sample", *header], rows)
