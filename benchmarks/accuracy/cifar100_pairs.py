"""Pairs of CIFAR-100 networks at a scale for two cores: 10 classes, a few epochs.

The networks, the optimizer and the loss are those of `examples/cifar100.py`, in mixed bfloat16; the
first 10 classes of the available 12,500 images, each also flipped, so that the teachers run only
once; a few epochs instead of 240, and more for the teachers, which are deeper and learn more
slowly. The split is not the official one: the numbers are comparable with each other only.
"""

from dataclasses import dataclass
from functools import cache

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared import training
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    load_arrays,
    load_or_train,
    sparse_loss,
)
from examples.cifar100_networks import build_network
from keras_kd.training.tf_data import disable_autotune

CLASSES, TEACHERS = 10, 3
MEAN, STDDEV = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


@dataclass(frozen=True)
class Pair:
    """Benchmark of a teacher and a student network, with their titles in the table."""

    teacher: str
    student: str
    titles: tuple[str, str]
    teacher_epochs: int
    epochs: int
    #: Height and width of the images in pixels, at most 32.
    size: int = 32

    def plan(self, done, seeds, quick):
        """Train the teachers and the students without a teacher first, then the others."""
        teachers = [({"method": "teacher"}, number) for number in range(2 if quick else TEACHERS)]
        alone = [] if quick else [({"method": "alone"}, seed) for seed in range(seeds)]
        if not all(job in done for job in teachers):
            return teachers + alone
        methods = ["screened"] if quick else ["kd", "average", "screened"]
        return teachers + alone + [({"method": m}, seed) for seed in range(seeds) for m in methods]

    def run(self, cell, seed, quick):
        x, y = images("train", self.size, quick)
        x_test, y_test = images("test", self.size, quick)
        if cell["method"] == "teacher":
            model = self.load_teacher(seed, quick)
            return {"accuracy": accuracy(model, x_test, y_test), "fit": accuracy(model, x, y)}
        keras.utils.set_random_seed(seed)
        student = build_mixed(self.student, self.size)
        model, inputs = student, x
        if cell["method"] != "alone":
            recorded = recorded_teachers(self, quick)
            teachers = recorded.teachers[: 1 if cell["method"] == "kd" else None]
            screening = kd.weighting.Screening(keep=2) if cell["method"] == "screened" else None
            loss = kd.losses.SoftTargets(temperature=4.0, weight=0.9)
            model = kd.Distiller(
                recorded.student(student), teachers, loss, 0.1, weighting=screening
            )
            inputs = recorded.inputs(x)
        fit(model, inputs, y, seed, 1 if quick else self.epochs)
        return {"accuracy": accuracy(student, x_test, y_test)}

    def load_teacher(self, number, quick):
        def train():
            keras.utils.set_random_seed(1000 + number)
            # The teacher's network takes long to build: a quick run uses the student's.
            model = build_mixed(self.student if quick else self.teacher, self.size)
            epochs = 1 if quick else self.teacher_epochs
            fit(model, *images("train", self.size, quick), 1000 + number, epochs)
            return model

        return load_or_train(f"{self.teacher}_{number}{'_quick' if quick else ''}", train)

    def report(self, done):
        teacher, student = self.titles
        titles = {
            "teacher": f"{teacher}, the teachers, {self.teacher_epochs} epochs",
            "alone": f"{student} alone, {self.epochs} epochs",
            "kd": f"{student}, one {teacher}",
            "average": f"{student}, three {teacher}, average",
            "screened": f"{student}, three {teacher}, `Screening(keep=2)`",
        }
        rows = []
        for method, title in titles.items():
            values = done.values("accuracy", method=method)
            rows.append([title, mean_sd(values, 100) if values else ""])
        text = table([f"test accuracy %, {CLASSES} classes", ""], rows)
        if fits := done.values("fit", method="teacher"):
            fit = mean_sd(fits, 100)
            text += f"\n\nTraining accuracy of the {teacher} teachers: {fit} %."
        return text


@cache
def recorded_teachers(pair, quick):
    """Record the logits of all teachers, once per process: it takes as long as some epochs."""
    count = 2 if quick else TEACHERS
    models = [pair.load_teacher(number, quick) for number in range(count)]
    return RecordedTeachers(models, images("train", pair.size, quick)[0])


def images(split, size, quick):
    """Return normalized, resized images of the first classes; for training also flipped."""
    x, y = load_arrays("cifar100", f"{split}[:200]" if quick else split)
    x, y = x[y < CLASSES], y[y < CLASSES]
    x = ((x - MEAN) / STDDEV).astype("float32")
    x = tf.image.resize(x, (size, size), "area").numpy()
    return (np.concatenate([x, x[:, :, ::-1]]), np.tile(y, 2)) if split == "train" else (x, y)


def build_mixed(name, size):
    """Return a network that computes in bfloat16, which halves the time on some processors."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return build_network(name, CLASSES, (size, size, 3))
    finally:
        keras.config.set_dtype_policy("float32")


def fit(model, x, y, seed, epochs, batch_size=64):
    steps = epochs * -(-len(y) // batch_size)
    drops = [round(steps * part) - 1 for part in (150 / 240, 180 / 240, 210 / 240)]
    rates = [0.05, 0.005, 0.0005, 0.00005]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(drops, rates)
    keras.utils.set_random_seed(seed)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9)
    model.compile(optimizer, sparse_loss(), run_eagerly=training.quick_mode)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(y), seed=seed)
    # Otherwise the end of each epoch waits for the autotuning thread.
    model.fit(disable_autotune(batches.batch(batch_size).prefetch(2)), epochs=epochs, verbose=0)
