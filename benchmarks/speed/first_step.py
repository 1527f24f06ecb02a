"""What it costs until the first step is done: TensorFlow traces it before it runs.

`fit` on one batch of 128 images of 28×28×1, the networks of benchmarks/steps, Adam and accuracy.
Seconds of the processor and not of the clock, in which other programs would show, from the
compiled model on. Each seed makes everything in a process that has done all of it once.
"""

import time

import keras
import numpy as np
from keras import distillation

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.step_networks import BATCH, SHAPES, STUDENTS, TEACHERS
from benchmarks.shared.training import convolutional, sparse_loss

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
    for way in () if quick else WAYS:  # What is imported and set up but once.
        seconds(way, x, y)
    return {way: seconds(way, x, y) for way in WAYS}


def seconds(way, x, y):
    teacher = convolutional("teacher", *TEACHERS[IMAGES], shape=SHAPES[IMAGES])
    model = model_of(way, teacher, convolutional("student", *STUDENTS[IMAGES], shape=x.shape[1:]))
    if way == "class":
        model.compile("adam")
    else:
        model.compile("adam", sparse_loss(), metrics=["accuracy"])
    start = time.process_time()
    model.fit(x, y, batch_size=BATCH, verbose=0)
    return time.process_time() - start


def model_of(way, teacher, student):
    if way == "keras":
        return student
    if way == "peer":
        losses = [distillation.LogitsDistillation()]
        return distillation.Distiller(teacher, student, losses, [1.0])
    if way == "class":
        return kd.TeacherClass(teacher, "features", small, n=4)
    losses = [kd.losses.SoftTargets()]
    if way == "hint":
        losses.append(kd.losses.Hint("block2", "block2"))
    return kd.Distiller(student, teacher, losses)


def small(size):
    layers = [keras.layers.Conv2D(8, 3, 2, activation="relu"), keras.layers.Flatten()]
    return keras.Sequential([keras.Input(SHAPES[IMAGES]), *layers, keras.layers.Dense(size)])


def report(done):
    plain = np.array(done.values("keras", images=IMAGES))
    rows = []
    for way, title in WAYS.items() if len(plain) else ():
        found = np.array(done.values(way, images=IMAGES))
        rows.append([title, mean_sd(found), mean_sd(found / plain)])
    return table(["`fit` on one batch", "processor seconds", "over Keras's own"], rows)
