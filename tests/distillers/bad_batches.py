"""A distiller and data with NaN values in one batch, for the tests of bad batches."""

import keras
import numpy as np
from keras import ops

import keras_kd as kd
from tests import toy

#: The teacher returns NaN for a sample with this value.
MARK = 50.0


def arrays():
    x, y = toy.vectors()
    return x, y, np.ones(32, "float32")


def batches(*parts):
    return toy.batches(*(parts or arrays()))


def with_bad(part, value):
    """The arrays with one bad value, in the third batch of four, and an unlabeled sample."""
    x, y, weights = arrays()
    y = y.astype("float32")
    y[30] = np.nan
    {"x": x[:, 0], "y": y, "weights": weights}[part][17] = value
    return x, y, weights


def failing_teacher():
    # Without ReLU: on some processors TensorFlow's fused kernels make 0 of a NaN before it.
    linear = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)], name="teacher")
    return kd.Teacher(linear, preprocessing=lambda x: ops.where(x == MARK, float("nan"), x))


def distiller(on_bad_batch="raise"):
    """A distiller with batch normalization, whose state a bad batch would spoil."""
    keras.utils.set_random_seed(0)
    hidden, norm = keras.layers.Dense(6), keras.layers.BatchNormalization()
    student = keras.Sequential([keras.Input((5,)), hidden, norm, keras.layers.Dense(4)])
    losses, teacher = kd.losses.SoftTargets(), failing_teacher()
    model = kd.Distiller(student, teacher, losses, on_bad_batch=on_bad_batch)
    model.compile(keras.optimizers.Adam(0.01), toy.sparse_loss(), metrics=["accuracy"])
    return model


def assert_equal(found, expected):
    """Asserts that lists of weights are equal bit for bit."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
