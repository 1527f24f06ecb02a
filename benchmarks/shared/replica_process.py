"""Process that trains on several devices, alone or as one worker of several.

`python -m benchmarks.shared.replica_process SPECIFICATION` takes JSON with `devices` (logical
devices of this process), `steps` and `seed`, and either `cases` and `path` (train each case and
save its weights as .npz) or `batch` (print the time of a step). TF_CONFIG makes it a worker.
"""

import json
import os
import statistics
import sys
import time

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd

BATCH, CLASSES = 64, 10


def main(specification):
    spec = json.loads(specification)
    strategy = make_strategy(spec["devices"])
    if "batch" in spec:
        print(step_seconds(strategy, spec["batch"], spec["steps"], spec["seed"]))
    else:
        for case in spec["cases"]:
            weights = train_case(case, strategy, spec["steps"], spec["seed"])
            np.savez(f"{spec['path']} {case}.npz", *weights)
    sys.stdout.flush()
    os._exit(0)  # Open connections between workers may delay a normal exit.


def make_strategy(devices):
    if "TF_CONFIG" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if devices == 1:
        return tf.distribute.get_strategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, logical)
    tf.config.threading.set_inter_op_parallelism_threads(16)
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)])


def train_case(case, strategy, steps, seed):
    """Return the weights after some steps."""
    with strategy.scope():
        model = build_distiller(case, seed)
    data = digits(steps, weighted=case == "sample weights", uneven=case == "uneven last batch")
    model.fit(data, verbose=0)
    return model.get_weights()


def build_distiller(case, seed):
    regularizer = "l2" if case == "L2" else None
    student, teachers = build_network(16, seed, regularizer), [build_network(64, seed + 1)]
    losses, weighting = [kd.losses.SoftTargets()], None
    if case == "hint":
        losses.append(kd.losses.Hint("hidden", "hidden"))
    if case == "two teachers":
        teachers.append(build_network(32, seed + 2))
        weighting = kd.weighting.CrossEntropy()
    keras.utils.set_random_seed(seed)
    model = kd.Distiller(student, teachers, losses, weighting=weighting)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def build_network(units, seed, regularizer=None):
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(units, "relu", kernel_regularizer=regularizer, name="hidden")
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), hidden, keras.layers.Dense(CLASSES)]
    return keras.Sequential(layers)


def digits(steps, weighted, uneven):
    """Return batches of the digits in a fixed order; if uneven, the last of a pass has 29."""
    images, labels = zip(*kd.datasets.load("digits", shuffle=False).unbatch(), strict=True)
    parts = (np.stack(images), np.stack(labels))
    if weighted:
        parts += (np.linspace(0, 2, len(images), dtype="float32"),)
    batches = tf.data.Dataset.from_tensor_slices(parts).batch(BATCH, drop_remainder=not uneven)
    return batches.repeat().take(steps)


def step_seconds(strategy, batch, steps, seed):
    """Return the median time of a step with `batch` samples per replica."""
    rng = np.random.default_rng(seed)
    count = batch * strategy.num_replicas_in_sync
    x, y = rng.random((count, 32, 32, 3), "float32"), rng.integers(0, CLASSES, count)
    data = tf.data.Dataset.from_tensors((x, y)).repeat(steps)
    clock = StepClock()
    with strategy.scope():
        model = kd.Distiller(strided_cnn((16, 32)), strided_cnn((48, 96)), kd.losses.SoftTargets())
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data, verbose=0, callbacks=[clock])
    return statistics.median(np.diff(clock.times[2:]))


def strided_cnn(channels):
    layers = [keras.Input((32, 32, 3))]
    for width in channels:
        layers += [keras.layers.Conv2D(width, 3, strides=2, activation="relu")]
    return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(CLASSES)])


class StepClock(keras.callbacks.Callback):
    """Record when each step ends."""

    def __init__(self):
        super().__init__()
        self.times = []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.perf_counter())


if __name__ == "__main__":
    main(sys.argv[1])
