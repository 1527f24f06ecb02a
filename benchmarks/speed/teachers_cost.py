"""Time of a step with K teachers compared with K forward passes.

A convolutional student of 50,000 parameters learns from K teachers of 1.2 million each on batches
of 128 images of 28×28. The distiller's step takes turns with the parts that it needs: the student's
step on labels, and the forward pass of each teacher. The ratio is taken within each block of steps.
"""

import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.timing import seconds_by_block
from benchmarks.shared.training import build_cnn, sparse_loss

ALONE = True
BATCH = 128
TEACHERS = (1, 2, 4)
WEIGHTINGS = {
    "Uniform()": kd.weighting.Uniform,
    "CrossEntropy()": kd.weighting.CrossEntropy,
    "Screening(keep=2)": lambda: kd.weighting.Screening(keep=2),
}


def plan(done, seeds, quick):
    cells = [
        {"teachers": k, "weighting": name}
        for k in (TEACHERS[:2] if quick else TEACHERS)
        for name in WEIGHTINGS
        if k > 1 or name == "Uniform()"
    ]
    return [(cell, seed) for seed in range(seeds) for cell in (cells[-1:] if quick else cells)]


def run(cell, seed, quick):
    rng = np.random.default_rng(seed)
    x = tf.constant(rng.random((BATCH, 28, 28, 1)), "float32")
    y = tf.constant(rng.integers(0, 10, BATCH))
    alone = build_cnn("alone", (16, 32), 29, seed=seed)
    student = build_cnn("student", (16, 32), 29, seed=seed)
    teachers = [
        build_cnn(f"teacher_{k}", (32, 64), 380, seed=seed + k) for k in range(cell["teachers"])
    ]
    distiller = kd.Distiller(student, teachers, weighting=WEIGHTINGS[cell["weighting"]]())
    for model in (alone, distiller):
        model.compile("adam", sparse_loss())
    step = tf.function(lambda: alone.train_step((x, y)))
    forward = tf.function(lambda: [teacher(x, training=False) for teacher in teachers])
    distill = tf.function(lambda: distiller.train_step((x, y)))
    times = seconds_by_block((distill, step, forward), *((2, 2) if quick else (15, 10)))
    return {
        "ratio": float(np.median(times[:, 0] / (times[:, 1] + times[:, 2]))),
        "milliseconds": 1e3 * float(np.median(times[:, 0])),
    }


def report(done):
    header = ["time of a step over (student's step + K forward passes)"]
    header += [f"{k} teacher{'s' * (k > 1)}" for k in TEACHERS]
    rows = []
    for name in WEIGHTINGS:
        values = [done.values("ratio", teachers=k, weighting=name) for k in TEACHERS]
        rows.append([f"`{name}`", *(mean_sd(v, digits=3) if v else "" for v in values)])
    return table(header, rows)
