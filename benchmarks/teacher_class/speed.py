"""One `fit` of a class of 8 against 8 separate ones, with a live teacher and with a cache.

The authors' teacher of 2.4 million parameters and the students for Fashion-MNIST, batches of 128.
Separate: each student is a class of its own (`only=[i]`), as on one machine one after the other.
All are compiled and run once before; then blocks of 20 steps in turn, and the ratio within each
block, so that a busy machine disturbs all alike.
"""

import statistics
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.teacher_class.fashion_mnist import WIDTHS
from benchmarks.teacher_class.networks import authors_teacher, blocks
from benchmarks.teacher_class.problem import LAYER

# Timings need the machine to themselves.
ALONE = True
STUDENTS, BATCH, STEPS = 8, 128, 20
TITLES = {"live": "the teacher runs", "cache": "`KnowledgeCache`"}
BOUNDS = {"live": 0.40, "cache": 0.80}


def plan(done, seeds, quick):
    some = ("cache",) if quick else TITLES
    return [({"knowledge": knowledge}, seed) for knowledge in some for seed in range(seeds)]


def run(cell, seed, quick):
    rng = np.random.default_rng(seed)
    images = rng.random((BATCH * STEPS, 28, 28, 1), "float32")
    samples = tf.data.Dataset.from_tensor_slices(images)
    keras.utils.set_random_seed(seed)
    teacher, data = authors_teacher(), samples.batch(BATCH)
    with tempfile.TemporaryDirectory() as folder:
        if cell["knowledge"] == "cache":
            cache = kd.KnowledgeCache.build(teacher, samples, folder, taps=[LAYER], verbose=0)
            data = cache.join(data)
        together = compiled(teacher)
        apart = [compiled(teacher, only=[i]) for i in range(1 if quick else STUDENTS)]
        for model in (together, *apart):
            seconds(model, data)
        ratios, joint = [], []
        for _ in range(2 if quick else 10):
            joint.append(seconds(together, data))
            ratios.append(joint[-1] / sum(seconds(model, data) for model in apart))
    return {"ratio": statistics.median(ratios), "step_ms": 1e3 * min(joint) / STEPS}


def compiled(teacher, **kwargs):
    model = kd.TeacherClass(teacher, LAYER, lambda size: blocks(WIDTHS, size), n=STUDENTS, **kwargs)
    model.compile("adam")
    return model


def seconds(model, data):
    start = time.perf_counter()
    model.fit(data, verbose=0)
    return time.perf_counter() - start


def report(done):
    rows = []
    for knowledge, title in TITLES.items():
        if done.where(knowledge=knowledge):
            ratio = mean_sd(done.values("ratio", knowledge=knowledge))
            step = mean_sd(done.values("step_ms", knowledge=knowledge), digits=1)
            rows.append([title, ratio, f"{BOUNDS[knowledge]:.2f}", step])
    header = ["knowledge", "one `fit` / 8 separate", "at most", "ms for a step of the class"]
    return table(header, rows)
