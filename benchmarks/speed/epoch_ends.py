"""Time that `fit` waits between the last step of an epoch and the first of the next.

A convolutional student of 50,000 parameters on 16,000 images of 28×28 in memory, batches of 64;
for distillation with a teacher of the same size. The thread that autotunes a `tf.data` pipeline
sleeps for longer and longer times, and the end of an iteration waits until it wakes up.
`kd.Distiller.fit` disables autotuning in data sets that it receives. It cannot do so for arrays,
because Keras turns them into a data set. Each way has its own `fit` of six epochs, the first of
which compiles.
"""

import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, measured_on, table
from benchmarks.shared.training import build_cnn, sparse_loss

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
    library, data = cell["way"].split("_")
    rng = np.random.default_rng(seed)
    count = 256 if quick else SAMPLES
    x = rng.random((count, 28, 28, 1), "float32")
    y = rng.integers(0, 10, count)
    model = build_cnn("student", (16, 32), 29, seed=seed)
    if library == "ours":
        model = kd.Distiller(
            model, build_cnn("teacher", (16, 32), 29, seed=1000), kd.losses.SoftTargets()
        )
    model.compile("adam", sparse_loss())
    clock = EpochClock()
    settings = {"epochs": EPOCHS, "callbacks": [clock], "verbose": 0}
    if data == "arrays":
        model.fit(x, y, batch_size=BATCH, **settings)
    else:
        samples = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(count, seed=seed)
        model.fit(samples.batch(BATCH).prefetch(tf.data.AUTOTUNE), **settings)
    # The first epoch compiles, and the wait after it is that of a long epoch.
    epoch = statistics.mean(clock.epochs[1:])
    return {"epoch_s": epoch, "share": statistics.mean(clock.waits[1:]) / epoch}


class EpochClock(keras.callbacks.Callback):
    """Seconds from the first to the last step of each epoch, and from there to the next epoch."""

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
    text = table(["", "s from first to last step", "wait after it, % of that"], rows)
    return f"{text}\n\n{measured_on(done)}" if rows else text
