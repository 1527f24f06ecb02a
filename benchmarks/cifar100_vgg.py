"""VGG13 to VGG8 at a scale that two cores can bear: 10 classes of CIFAR-100, a few epochs.

The networks, the optimizer and the loss are those of `examples/cifar100.py`, in mixed bfloat16; the
first 10 classes of the 12,500 images at hand, each as it is and flipped, so that the teachers need
to be asked once; 8 epochs in place of 240, and 24 for the teachers, which are deeper and learn more
slowly. The images are not split as the official ones: these numbers compare with each other and
with no published ones.
"""

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.results import mean_sd, table
from benchmarks.training import Recorded, accuracy, arrays, kept, sparse_loss
from examples.cifar100_networks import network
from keras_kd.autotuning import untuned

CLASSES, TEACHERS, EPOCHS, TEACHER_EPOCHS = 10, 3, 8, 24
METHODS = {
    "teacher": "VGG13, the teachers, 24 epochs",
    "alone": "VGG8 alone, 8 epochs",
    "kd": "VGG8, one VGG13",
    "average": "VGG8, three VGG13, average",
    "screened": "VGG8, three VGG13, `Screening(keep=2)`",
}
MEAN, STDDEV = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


def plan(done, seeds, quick):
    """The teachers, and what needs none; then the others."""
    teachers = [({"method": "teacher"}, number) for number in range(2 if quick else TEACHERS)]
    alone = [] if quick else [({"method": "alone"}, seed) for seed in range(seeds)]
    if not all(job in done for job in teachers):
        return teachers + alone
    methods = ["screened"] if quick else list(METHODS)[2:]
    return teachers + alone + [({"method": m}, seed) for seed in range(seeds) for m in methods]


def run(cell, seed, quick):
    x, y = images("train", quick)
    x_test, y_test = images("test", quick)
    if cell["method"] == "teacher":
        return {"accuracy": accuracy(trained_teacher(seed, quick), x_test, y_test)}
    keras.utils.set_random_seed(seed)
    student = mixed("vgg8")
    model, inputs = student, x
    if cell["method"] != "alone":
        count = 1 if cell["method"] == "kd" else 2 if quick else TEACHERS
        teachers = [trained_teacher(number, quick) for number in range(count)]
        recorded = Recorded(teachers, x)
        screening = kd.weighting.Screening(keep=2) if cell["method"] == "screened" else None
        loss = kd.losses.SoftTargets(temperature=4.0, weight=0.9)
        student_of_records = recorded.student(student)
        model = kd.Distiller(student_of_records, recorded.teachers, loss, 0.1, weighting=screening)
        inputs = recorded.inputs(x)
    fit(model, inputs, y, seed, 1 if quick else EPOCHS)
    return {"accuracy": accuracy(student, x_test, y_test)}


def images(split, quick):
    """Normalised images of the first classes; those for training flipped as well."""
    x, y = arrays("cifar100", f"{split}[:200]" if quick else split)
    x, y = x[y < CLASSES], y[y < CLASSES]
    x = ((x - MEAN) / STDDEV).astype("float32")
    return (np.concatenate([x, x[:, :, ::-1]]), np.tile(y, 2)) if split == "train" else (x, y)


def trained_teacher(number, quick):
    def make():
        keras.utils.set_random_seed(1000 + number)
        model = mixed("vgg8" if quick else "vgg13")
        epochs = 1 if quick else TEACHER_EPOCHS
        fit(model, *images("train", quick), 1000 + number, epochs)
        return model

    return kept(f"vgg13_{number}{'_quick' if quick else ''}", make)


def mixed(name):
    """A network that computes in bfloat16, in half the time where the processor multiplies it."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return network(name, CLASSES)
    finally:
        keras.config.set_dtype_policy("float32")


def fit(model, x, y, seed, epochs, batch_size=64):
    steps = epochs * -(-len(y) // batch_size)
    drops = [round(steps * part) - 1 for part in (150 / 240, 180 / 240, 210 / 240)]
    rates = [0.05, 0.005, 0.0005, 0.00005]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(drops, rates)
    keras.utils.set_random_seed(seed)
    model.compile(keras.optimizers.SGD(schedule, momentum=0.9), sparse_loss())
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(y), seed=seed)
    # Each epoch's end would wait for autotuning.
    model.fit(untuned(batches.batch(batch_size).prefetch(2)), epochs=epochs, verbose=0)


def report(done):
    rows = []
    for method, title in METHODS.items():
        values = done.values("accuracy", method=method)
        rows.append([title, mean_sd(values, 100) if values else ""])
    return table([f"test accuracy %, {CLASSES} classes", ""], rows)
