"""Students prepared for quantization-aware training, without the training."""

import keras
import numpy as np
from keras import layers

import keras_kd as kd
from keras_kd.compression.tfmot import parity
from keras_kd.compression.tfmot.convert import open_student
from keras_kd.compression.tfmot.quantize_aware import prepare_student
from tests.compression import models
from tests.compression.runs import eagerly


def prepare(student, x):
    """Prepare a student with ranges from x; its outputs then differ by the rounding only."""
    plan = kd.compression.Training(data=(x, np.asarray(student(x))), epochs=1, loss="mse")
    with eagerly():
        prepared = prepare_student(student, plan)
        prepared.set_initial_ranges([x])
        prepared.wrapped.model(x, training=True)  # Sets the ranges of the weights.
    return prepared


def positive_input(student, samples):
    """Random samples without negative values, like images."""
    return keras.tree.map_structure(np.abs, parity.random_input(open_student(student), samples))


def stack(*steps, shape=models.IMAGE, dtype="float32"):
    """A model of these layers and a dense head."""
    inputs = keras.Input(shape, dtype=dtype)
    x = inputs
    for step in steps:
        x = step(x)
    x = layers.Flatten(name="flat")(x)
    return models.randomized(keras.Model(inputs, layers.Dense(3, name="head")(x), name="m"))


def conv(*rest, **kwargs):
    return stack(layers.Conv2D(4, 3, name="conv", **kwargs), *rest)


def norm(name=None):
    """A batch norm with constant statistics, which would change outputs besides the rounding."""
    return layers.BatchNormalization(name=name, momentum=1.0)
