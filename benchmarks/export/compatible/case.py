"""A model of the compatibility table, with made-up data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

#: Samples of each model, and of a batch.
SAMPLES, BATCH = 8, 4


@dataclass(frozen=True)
class Case:
    """A model with data.

    Attributes:
        build: Creates the model, with random weights.
        x: Inputs, as arrays of `SAMPLES` rows.
        y: Labels, in the structure of the outputs.
        loss: The loss to compile.
    """

    build: Callable[[], keras.Model]
    x: Any
    y: Any
    loss: Any

    @property
    def dataset(self):
        """The batches of inputs and labels."""
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((self.x, self.y)).batch(BATCH)


def floats(*shape):
    """Return made-up samples of a shape, standard normal."""
    return np.random.default_rng(0).normal(size=(SAMPLES, *shape)).astype("float32")


def integers(high, *shape, low=0):
    """Return made-up integers below `high`, such as tokens or classes."""
    return np.random.default_rng(1).integers(low, high, (SAMPLES, *shape)).astype("int32")


def sparse():
    """Return the loss on class indices for logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def binary():
    """Return the loss on yes-or-no labels for logits."""
    return keras.losses.BinaryCrossentropy(from_logits=True)
