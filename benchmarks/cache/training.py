"""Time of a whole training with a cache, including the time to build it, and with a live teacher.

The networks of the step timings on 1,280 images of noise, batches of 128. The time of an epoch does
not depend on what is learned, and both parts grow in proportion to the number of images.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, measured_on, save_chart, table
from benchmarks.shared.step_networks import BATCH, SHAPES, STUDENTS, TEACHERS
from benchmarks.shared.training import build_cnn, sparse_loss
from keras_kd.training.tf_data import disable_autotune

ALONE = True
IMAGES = 1_280
EPOCHS = (5, 20, 100)
PICTURE = "![Seconds of a whole training by number of epochs](images/cache_training.svg)"


def plan(done, seeds, quick):
    epochs = (1,) if quick else EPOCHS
    shapes = list(SHAPES)[:1] if quick else SHAPES
    cells = [{"images": images, "epochs": e} for images in shapes for e in epochs]
    return [(cell, seed) for seed in range(seeds) for cell in cells]


def run(cell, seed, quick):
    """Return the seconds from the models to the trained student, with and without a cache."""
    images = cell["images"]
    count = 512 if quick else IMAGES
    rng = np.random.default_rng(seed)
    x, y = rng.random((count, *SHAPES[images]), "float32"), rng.integers(0, 10, count)
    samples = tf.data.Dataset.from_tensor_slices((x, y))
    teacher = build_cnn("teacher", *TEACHERS[images], shape=SHAPES[images], seed=seed)
    start = time.perf_counter()
    # As in a joined data set; otherwise the start of an epoch waits for the autotuning thread.
    shuffled = disable_autotune(samples.shuffle(count, seed=seed).batch(BATCH).prefetch(2))
    train(cell, teacher, shuffled)
    live = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        cache = kd.KnowledgeCache.build(teacher, samples, Path(folder) / "cache", verbose=0)
        build = time.perf_counter() - start
        joined = cache.join(kd.keyed(samples).shuffle(count, seed=seed).batch(BATCH))
        train(cell, cache.teachers, joined)
        cached = time.perf_counter() - start
    return {"live": live, "cached": cached, "build": build, "ratio": cached / live}


def train(cell, teachers, data):
    student = build_cnn("student", *STUDENTS[cell["images"]], shape=SHAPES[cell["images"]])
    distiller = kd.Distiller(student, teachers, kd.losses.SoftTargets())
    distiller.compile("adam", sparse_loss(), metrics=["accuracy"])
    distiller.fit(data, epochs=cell["epochs"], verbose=0)


def report(done):
    rows = []
    for images in SHAPES:
        for epochs in sorted({run["cell"]["epochs"] for run in done.where(images=images)}):
            values = {
                key: done.values(key, images=images, epochs=epochs)
                for key in ("live", "build", "cached", "ratio")
            }
            seconds = [mean_sd(values[key], digits=1) for key in ("live", "build", "cached")]
            rows.append([images, epochs, *seconds, mean_sd(values["ratio"])])
    header = ["images", "epochs", "live, s", "build, s", "cached, build included, s"]
    text = table([*header, "cached / live"], rows)
    return f"{text}\n\n{measured_on(done)}\n\n{PICTURE}" if done.runs else text


def chart(done, path):
    """Draw seconds over epochs."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(SHAPES), figsize=(9, 3), layout="constrained")
    for axis, images in zip(axes, SHAPES, strict=True):
        epochs = sorted({run["cell"]["epochs"] for run in done.where(images=images)})
        if not epochs:
            pyplot.close(figure)
            return
        for key, label, color in (
            ("live", "live teacher", "#3b6ea5"),
            ("cached", "cached, build included", "#2a7f62"),
        ):
            means = [np.mean(done.values(key, images=images, epochs=e)) for e in epochs]
            axis.plot(epochs, means, "o-", label=label, color=color)
        axis.set_title(f"{images}, {IMAGES:,} images", fontsize=10)
        axis.set_xlabel("epochs")
        axis.set_ylabel("seconds")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    save_chart(figure, path)
