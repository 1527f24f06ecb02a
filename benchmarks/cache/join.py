"""Speed of joining a cache with data, and time to build one compared with the teacher itself.

Join: 60,000 images of 28×28×1, a teacher of 100 classes, float16. Keyed batches of 128 in memory,
without and with the join (in the first epoch, which computes the digest of every input, and in
later ones), and the same from shuffled single samples. All take turns; the result is the median.

Build: the teacher of the step timings on 25,600 images, compared with `predict` on the same
batches, in turns. Both run on a few batches before, so that Keras and TensorFlow are initialized.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, measured_on, table
from benchmarks.shared.step_networks import BATCH, SHAPES, TEACHERS
from benchmarks.shared.training import build_cnn

ALONE = True
CLASSES = 100
JOINS = {
    "batches": "keyed batches in memory, not joined",
    "first": "joined, first epoch",
    "later": "joined, later epochs",
    "shuffled": "`kd.keyed(samples).shuffle(60_000).batch(128)`, not joined",
    "shuffled_joined": "joined: `cache.join(kd.keyed(samples).shuffle(60_000).batch(128))`",
    "samples_joined": "single samples: `cache.join(samples).shuffle(60_000).batch(128)`",
}


def plan(done, seeds, quick):
    cells = [{"part": "join"}, *({"part": "build", "images": images} for images in SHAPES)]
    return [(cell, seed) for seed in range(seeds) for cell in (cells[:2] if quick else cells)]


def run(cell, seed, quick):
    with tempfile.TemporaryDirectory() as folder:
        if cell["part"] == "join":
            return join_speed(Path(folder), seed, quick)
        return build_time(Path(folder), cell["images"], seed, quick)


def join_speed(folder, seed, quick):
    """Return the samples per second of each way."""
    count = 2_560 if quick else 60_000
    rng = np.random.default_rng(seed)
    x, y = rng.random((count, 28, 28, 1), "float32"), rng.integers(0, CLASSES, count)
    samples = tf.data.Dataset.from_tensor_slices((x, y))
    inputs = keras.Input((28, 28, 1))
    pooled = keras.layers.Flatten()(keras.layers.AveragePooling2D(7)(inputs))
    teacher = keras.Model(inputs, keras.layers.Dense(CLASSES)(pooled))
    cache = kd.KnowledgeCache.build(teacher, samples, folder / "cache", batch_size=500, verbose=0)
    batches = kd.keyed(samples).batch(BATCH).cache()
    shuffled = kd.keyed(samples).shuffle(count, seed=seed).batch(BATCH)
    later = cache.join(batches)
    ways = {
        "batches": batches.prefetch(tf.data.AUTOTUNE),
        "later": later,
        "shuffled": shuffled.prefetch(tf.data.AUTOTUNE),
        "shuffled_joined": cache.join(shuffled),
        "samples_joined": cache.join(samples).shuffle(count, seed=seed).batch(BATCH),
    }
    for way in ways.values():
        epoch_seconds(way)
    times = {name: [] for name in JOINS}
    for _ in range(2 if quick else 7):
        # Joined again each time, so that it is the first epoch.
        for name, way in {**ways, "first": cache.join(batches)}.items():
            times[name].append(epoch_seconds(way))
    return {name: count / statistics.median(values) for name, values in times.items()}


def epoch_seconds(dataset):
    """Return the time of an epoch. As in `fit`, no Python code runs between batches."""
    start = time.perf_counter()
    dataset.reduce(np.int64(0), lambda count, *_: count + 1).numpy()
    return time.perf_counter() - start


def build_time(folder, images, seed, quick):
    """Return the time of a build divided by that of `predict`."""
    count = 512 if quick else 25_600
    x = np.random.default_rng(seed).random((count, *SHAPES[images]), "float32")
    teacher = build_cnn("teacher", *TEACHERS[images], shape=SHAPES[images], seed=seed)
    batches = tf.data.Dataset.from_tensor_slices(x).batch(BATCH)
    teacher.predict(batches.take(2), verbose=0)
    kd.KnowledgeCache.build(teacher, batches.take(2), folder / "warm", verbose=0)
    ratios, predicting = [], []
    for turn in range(2 if quick else 3):
        start = time.perf_counter()
        teacher.predict(batches, verbose=0)
        middle = time.perf_counter()
        kd.KnowledgeCache.build(teacher, batches, folder / f"{turn}", verbose=0)
        predicting.append(middle - start)
        ratios.append((time.perf_counter() - middle) / predicting[-1])
        shutil.rmtree(folder / f"{turn}")
    return {"ratio": statistics.median(ratios), "predict_seconds": statistics.median(predicting)}


def report(done):
    rows = []
    for name, title in JOINS.items():
        runs = done.where(part="join")
        values = [run["metrics"][name] for run in runs]
        target = "≥ 200" if name in ("first", "later") else ""
        rows.append([title, mean_sd(values, 1e-3, 0) if values else "", target])
    join_table = table(["join, 100 classes, float16", "thousand samples/s", "target"], rows)
    rows = [
        [images, mean_sd(done.values("ratio", part="build", images=images)), "≤ 1.10"]
        for images in SHAPES
        if done.where(part="build", images=images)
    ]
    build_table = table(["build", "time / `predict`", "target"], rows)
    return "\n\n".join([join_table, build_table, *([measured_on(done)] if done.runs else [])])
