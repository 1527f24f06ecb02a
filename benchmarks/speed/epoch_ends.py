"""How long `fit` waits between the last step of an epoch and the first of the next.

A convolutional student of 50,000 parameters on 16,000 images of 28×28 in memory, batches of 64;
with a teacher of its own size where it is distilled. The thread that autotunes a `tf.data` pipeline
sleeps for ever longer times, and the end of an iteration waits until it wakes; `kd.Distiller.fit`
turns it off in data sets it is given. Arrays are made into a data set by Keras, out of its reach.
Each way in a `fit` of its own of six epochs, of which the first compiles.
"""

import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, on, table
from benchmarks.shared.training import convolutional, sparse_loss

# Timings need the machine to themselves.
ALONE = True
SAMPLES, BATCH, EPOCHS = 16_000, 64, 6
WAYS = {
    "keras_arrays": "`keras.Model.fit`, arrays",
    "keras_data": "`keras.Model.fit`, `tf.data`",
    "ours_arrays": "`kd.Distiller.fit`, arrays",
    "ours_data": "`kd.Distiller.fit`, `tf.data`",
}


def plan(done, seeds, quick):
    return [({"way": way}, seed) for seed in range(seeds) for way in WAYS]


def run(cell, seed, quick):
    who, data = cell["way"].split("_")
    rng = np.random.default_rng(seed)
    count = 256 if quick else SAMPLES
    x = rng.random((count, 28, 28, 1), "float32")
    y = rng.integers(0, 10, count)
    model = convolutional("student", (16, 32), 29, seed=seed)
    if who == "ours":
        model = kd.Distiller(model, convolutional("teacher", (16, 32), 29, seed=1000))
    model.compile("adam", sparse_loss())
    clock = Clock()
    given = {"epochs": EPOCHS, "callbacks": [clock], "verbose": 0}
    if data == "arrays":
        model.fit(x, y, batch_size=BATCH, **given)
    else:
        samples = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(count, seed=seed)
        model.fit(samples.batch(BATCH).prefetch(tf.data.AUTOTUNE), **given)
    # The first epoch compiles, the wait after it is that of a long one.
    epoch = statistics.mean(clock.epochs[1:])
    return {"epoch_s": epoch, "share": statistics.mean(clock.waits[1:]) / epoch}


class Clock(keras.callbacks.Callback):
    """Seconds from the first to the last step of each epoch, and from there to the next one."""

    def __init__(self):
        super().__init__()
        self.epochs, self.waits = [], []
        self._first = self._last = None

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self._first = time.perf_counter()
            if self._last is not None:
                self.waits.append(self._first - self._last)

    def on_train_batch_end(self, batch, logs=None):
        self._last = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self._last - self._first)


def report(done):
    rows = [
        [
            title,
            mean_sd(done.values("epoch_s", way=way)),
            mean_sd(done.values("share", way=way), 100, 1),
        ]
        for way, title in WAYS.items()
        if done.where(way=way)
    ]
    measured = table(["", "s from first to last step", "wait after it, % of that"], rows)
    return f"{measured}\n\n{on(done)}" if rows else measured
