"""Time of one `fit` for a network of 8 students compared with 8 separate ones.

The authors' teacher of 2.4 million parameters and the students for Fashion-MNIST, batches of 128,
with a live teacher and with a cache. Separate: each student alone (`only=[i]`), one after the other
on one machine. All are compiled and run once before; then blocks of 20 steps take turns, and the
ratio is taken within each block.
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
from benchmarks.teacher_class.networks import build_authors_teacher, build_student
from benchmarks.teacher_class.problem import LAYER

# Timings need the machine to themselves.
ALONE = True
STUDENTS, BATCH, STEPS = 8, 128, 20
TITLES = {"live": "live teacher", "cache": "`KnowledgeCache`"}
BOUNDS = {"live": 0.40, "cache": 0.80}


def plan(done, seeds, quick):
    kinds = ("cache",) if quick else TITLES
    return [({"knowledge": knowledge}, seed) for knowledge in kinds for seed in range(seeds)]


def run(cell, seed, quick):
    rng = np.random.default_rng(seed)
    images = rng.random((BATCH * STEPS, 28, 28, 1), "float32")
    samples = tf.data.Dataset.from_tensor_slices(images)
    keras.utils.set_random_seed(seed)
    teacher, data = build_authors_teacher(), samples.batch(BATCH)
    with tempfile.TemporaryDirectory() as folder:
        if cell["knowledge"] == "cache":
            cache = kd.KnowledgeCache.build(teacher, samples, folder, taps=[LAYER], verbose=0)
            data = cache.join(data)
        together = compile_students(teacher)
        separate = [compile_students(teacher, only=[i]) for i in range(1 if quick else STUDENTS)]
        for model in (together, *separate):
            fit_seconds(model, data)
        ratios, joint = [], []
        for _ in range(2 if quick else 10):
            joint.append(fit_seconds(together, data))
            ratios.append(joint[-1] / sum(fit_seconds(model, data) for model in separate))
    return {"ratio": statistics.median(ratios), "step_ms": 1e3 * min(joint) / STEPS}


def compile_students(teacher, **kwargs):
    model = kd.TeacherClass(
        teacher,
        LAYER,
        lambda size: build_student(WIDTHS, size),
        n=STUDENTS,
        mimic="output",  # As the cache stores.
        **kwargs,
    )
    model.compile("adam")
    return model


def fit_seconds(model, data):
    start = time.perf_counter()
    model.fit(data, verbose=0)
    return time.perf_counter() - start


def report(done):
    rows = []
    for knowledge, title in TITLES.items():
        if done.where(knowledge=knowledge):
            ratio = mean_sd(done.values("ratio", knowledge=knowledge))
            step = mean_sd(done.values("step_ms", knowledge=knowledge), digits=1)
            rows.append([title, ratio, f"≤ {BOUNDS[knowledge]:.2f}", step])
    header = ["teacher outputs", "one `fit` / 8 separate", "target", "ms per step of 8 students"]
    return table(header, rows)
