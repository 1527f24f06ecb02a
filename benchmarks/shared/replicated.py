"""One process of a training on several devices or processes: `python -m ... SPECIFICATION`.

The specification is JSON: `devices` (logical devices of this process), `cases`, `steps`, `seed` and
`path`, where the weights go as .npz, one for each case; and `batch`, for the time of a step
instead. TF_CONFIG makes it one worker of several.
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


def network(units, seed, regularizer=None):
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(units, "relu", kernel_regularizer=regularizer, name="hidden")
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), hidden, keras.layers.Dense(CLASSES)]
    return keras.Sequential(layers)


def digits(steps, weighted, uneven):
    """Batches of real digits in a fixed order; the last of each pass has 29 where uneven."""
    images, labels = zip(*kd.datasets.load("digits", shuffle=False).unbatch(), strict=True)
    parts = (np.stack(images), np.stack(labels))
    if weighted:
        parts += (np.linspace(0, 2, len(images), dtype="float32"),)
    batches = tf.data.Dataset.from_tensor_slices(parts).batch(BATCH, drop_remainder=not uneven)
    return batches.repeat().take(steps)


def distiller(case, seed):
    regularizer = "l2" if case == "L2" else None
    student, teachers = network(16, seed, regularizer), [network(64, seed + 1)]
    losses, weighting = [kd.losses.SoftTargets()], None
    if case == "hint":
        losses.append(kd.losses.Hint("hidden", "hidden"))
    if case == "two teachers":
        teachers.append(network(32, seed + 2))
        weighting = kd.weighting.CrossEntropy()
    keras.utils.set_random_seed(seed)
    model = kd.Distiller(student, teachers, losses, weighting=weighting)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def trained(case, strategy, steps, seed):
    """The weights after some steps."""
    with strategy.scope():
        model = distiller(case, seed)
    data = digits(steps, weighted=case == "sample weights", uneven=case == "uneven last batch")
    model.fit(data, verbose=0)
    return model.get_weights()


def step_seconds(strategy, batch, steps, seed):
    """The median time of a step on so many samples for each replica."""
    rng = np.random.default_rng(seed)
    count = batch * strategy.num_replicas_in_sync
    x, y = rng.random((count, 32, 32, 3), "float32"), rng.integers(0, CLASSES, count)
    data = tf.data.Dataset.from_tensors((x, y)).repeat(steps)

    def convolutional(channels):
        layers = [keras.Input((32, 32, 3))]
        for width in channels:
            layers += [keras.layers.Conv2D(width, 3, strides=2, activation="relu")]
        return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(CLASSES)])

    times = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, step, logs=None):
            times.append(time.perf_counter())

    with strategy.scope():
        model = kd.Distiller(convolutional((16, 32)), convolutional((48, 96)))
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data, verbose=0, callbacks=[Clock()])
    return statistics.median(np.diff(times[2:]))


def main(specification):
    spec = json.loads(specification)
    cpu, devices = tf.config.list_physical_devices("CPU")[0], spec["devices"]
    if "TF_CONFIG" in os.environ:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif devices == 1:
        strategy = tf.distribute.get_strategy()
    else:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * devices
        )
        tf.config.threading.set_inter_op_parallelism_threads(16)
        strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)])
    if "batch" in spec:
        print(step_seconds(strategy, spec["batch"], spec["steps"], spec["seed"]))
    else:
        for case in spec["cases"]:
            weights = trained(case, strategy, spec["steps"], spec["seed"])
            np.savez(f"{spec['path']} {case}.npz", *weights)
    sys.stdout.flush()
    os._exit(0)  # What is left of the connections between workers may hold one up.


if __name__ == "__main__":
    main(sys.argv[1])
