"""Compressions of small students on small data, run eagerly unless tracing is the subject."""

import contextlib

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_kd as kd
from tests import toy


@contextlib.contextmanager
def eagerly():
    """Run everything eagerly: tracing takes longer than the few steps of a test."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def compress(technique, student, *args, **kwargs):
    """Compress a student for an epoch of 4 steps."""
    defaults = {"data": toy.data(32), "batch_size": 8, "epochs": 1, "verbose": 0}
    kwargs = {**defaults, "loss": toy.sparse_loss(), **kwargs}
    with eagerly():
        return getattr(kd.compression, technique)(student, *args, **kwargs)


def prune(student, sparsity=0.8, **kwargs):
    return compress("prune", student, sparsity, **{"epochs": 2, **kwargs})


def cluster(student, clusters=8, **kwargs):
    return compress("cluster", student, clusters, **kwargs)


def quantize(student, **kwargs):
    return compress("quantize_aware", student, **kwargs)


def wide():
    """A student with kernels of 36, 288, 384, and 48 weights, and a depthwise one of 72."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="first")(x)
    x = layers.Conv2D(8, 3, padding="same", name="second")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(layers.ReLU(name="act")(x))
    x = layers.Dense(12, activation="relu", name="dense")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(4, name="logits")(x), name="wide")


#: The layers of `wide` that are pruned and clustered.
KERNELS = ("first", "second", "dense", "logits")


def count_zeros(weight):
    return int((np.asarray(weight) == 0).sum())


def count_values(weight):
    return len(np.unique(weight))


def keep_largest(student, counts):
    """Set all weights of the named kernels to zero except the largest `count`."""
    for name, count in counts.items():
        kernel = student.get_layer(name).kernel.numpy()
        least = np.sort(np.abs(kernel), axis=None)[-count]
        student.get_layer(name).kernel.assign(np.where(np.abs(kernel) >= least, kernel, 0))
    return student


def actions(result):
    """What happened to each layer, by name."""
    return {plan.name: (plan.action, plan.reason) for plan in result.layers}


def random_data(student, samples=16):
    """Random inputs and labels for a student."""
    rng = np.random.default_rng(0)
    x = [
        rng.integers(0, 9, (samples, *i.shape[1:]))
        if i.dtype == "int32"
        else rng.random((samples, *i.shape[1:]))
        for i in student.inputs
    ]
    return (x if len(x) > 1 else x[0]), rng.integers(0, student.output_shape[-1], samples)
