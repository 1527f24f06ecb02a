"""Time until the first step is done, which TensorFlow traces before it runs it.

`fit` on one batch of 128 images of 28×28×1, the networks of the step timings, Adam and accuracy.
Processor seconds from the compiled model on; other programs do not count. Each seed runs in a
process that has done everything once before.
"""

import time

import keras
import numpy as np
from keras import distillation

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.step_networks import BATCH, SHAPES, STUDENTS, TEACHERS
from benchmarks.shared.training import build_cnn, sparse_loss

IMAGES = "28×28×1"
WAYS = {
    "keras": "`keras.Model.fit` of the student",
    "peer": "`keras.distillation`",
    "ours": "`kd.Distiller`",
    "hint": "`kd.Distiller` with a hint",
    "class": "`kd.TeacherClass`, 4 students",
}


def plan(done, seeds, quick):
    return [({"images": IMAGES}, seed) for seed in range(seeds)]


def run(cell, seed, quick):
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = rng.random((BATCH, *SHAPES[IMAGES]), "float32"), rng.integers(0, 10, BATCH)
    for way in () if quick else WAYS:  # Imports and other work that is done only once.
        fit_seconds(way, x, y)
    return {way: fit_seconds(way, x, y) for way in WAYS}


def fit_seconds(way, x, y):
    teacher = build_cnn("teacher", *TEACHERS[IMAGES], shape=SHAPES[IMAGES])
    model = build_model(way, teacher, build_cnn("student", *STUDENTS[IMAGES], shape=x.shape[1:]))
    if way == "class":
        model.compile("adam")
    else:
        model.compile("adam", sparse_loss(), metrics=["accuracy"])
    start = time.process_time()
    model.fit(x, y, batch_size=BATCH, verbose=0)
    return time.process_time() - start


def build_model(way, teacher, student):
    if way == "keras":
        return student
    if way == "peer":
        losses = [distillation.LogitsDistillation()]
        return distillation.Distiller(teacher, student, losses, [1.0])
    if way == "class":
        return kd.TeacherClass(teacher, "features", build_small_student, n=4)
    losses = [kd.losses.SoftTargets()]
    if way == "hint":
        losses.append(kd.losses.Hint("block2", "block2"))
    return kd.Distiller(student, teacher, losses)


def build_small_student(size):
    layers = [keras.layers.Conv2D(8, 3, 2, activation="relu"), keras.layers.Flatten()]
    return keras.Sequential([keras.Input(SHAPES[IMAGES]), *layers, keras.layers.Dense(size)])


def report(done):
    plain = np.array(done.values("keras", images=IMAGES))
    rows = []
    for way, title in WAYS.items() if len(plain) else ():
        seconds = np.array(done.values(way, images=IMAGES))
        rows.append([title, mean_sd(seconds), mean_sd(seconds / plain)])
    return table(["`fit` on one batch", "processor seconds", "divided by Keras's own"], rows)
