"""Accuracy of representations from one problem on another.

The students have mimicked the MNIST teacher's representation without labels. With a new head and
few labeled images they are trained to tell odd digits from even ones and to classify
Fashion-MNIST. They are compared with the teacher's representation and with their own architecture
from random weights. Representations stay unchanged and only the heads are trained; from random
weights, all layers are trained.
"""

from functools import lru_cache

import keras
import tensorflow as tf
from keras import layers

from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import sparse_loss
from benchmarks.teacher_class.data import load_samples
from benchmarks.teacher_class.mnist import PROBLEM
from benchmarks.teacher_class.problem import LAYER, score

TASKS = {"odd": ("mnist", 2, "odd or even"), "fashion": ("fashion_mnist", 10, "Fashion-MNIST")}
IMAGES = (100, 1000)
STARTS = {
    "class": "representation of the 4 students",
    "teacher": "representation of the teacher",
    "nothing": "4 students from random weights",
}


def plan(done, seeds, quick):
    cells = [
        {"task": task, "images": images, "start": start}
        for task in (list(TASKS)[:1] if quick else TASKS)
        for images in (IMAGES[:1] if quick else IMAGES)
        for start in STARTS
    ]
    return [(cell, seed) for cell in cells for seed in range(seeds)]


def run(cell, seed, quick):
    data, classes, _ = TASKS[cell["task"]]
    # Images that neither teacher nor students were trained on, different for each seed.
    first = 48_000 + 1000 * seed
    x, y = label_task(cell["task"], load_samples(data, f"train[{first}:{first + cell['images']}]"))
    test = label_task(cell["task"], load_samples(data, f"test[:{500 if quick else 10_000}]"))
    head = layers.Dense(classes)
    if cell["start"] == "nothing":
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((28, 28, 1))
        features = layers.Concatenate()([net(inputs) for net in PROBLEM.students["class"]()])
        model = keras.Model(inputs, head(layers.ReLU()(features)))
        train(model, x, y, seed, steps=20 if quick else 600, rate=3e-3)
        return {"accuracy": score(model, *test)}
    body = load_representation(cell["start"], seed, quick)
    model = keras.Sequential([keras.Input((256,)), head])
    train(model, body.predict(x, verbose=0), y, seed, steps=20 if quick else 2000, rate=1e-2)
    return {"accuracy": score(model, body.predict(test[0], verbose=0), test[1])}


def label_task(task, split):
    x, y = split
    return (x, y % 2) if task == "odd" else (x, y)


@lru_cache(maxsize=4)
def load_representation(start, seed, quick):
    if start == "teacher":
        teacher = PROBLEM.load_teacher(quick)
        return keras.Model(teacher.inputs, teacher.get_layer(LAYER).output)
    model = PROBLEM.mimic_teacher("class", seed, quick)
    return keras.Model(model.inputs, model.get_layer("activation").output)


def train(model, x, y, seed, steps, rate):
    """Train for some steps of at most 32 images as one epoch: the end of an epoch takes long."""
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(y), seed=seed).repeat()
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    keras.utils.set_random_seed(seed)
    model.compile(keras.optimizers.Adam(schedule), sparse_loss(), steps_per_execution=20)
    model.fit(batches.batch(32), steps_per_epoch=steps, verbose=0)


def report(done):
    columns = [(task, images) for task in TASKS for images in IMAGES]
    rows = []
    for start, title in STARTS.items():
        row = [title]
        for task, images in columns:
            values = done.values("accuracy", task=task, images=images, start=start)
            row.append(mean_sd(values, 100) if values else "")
        rows.append(row)
    header = [f"{TASKS[task][2]}, {images:,} images" for task, images in columns]
    return table(["test accuracy %", *header], rows)
