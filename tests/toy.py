"""Small models and data that many tests share."""

import importlib.util

import keras
import numpy as np
from keras import layers


def data(samples=32, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, 6, 6, 1)).astype("float32")
    y = rng.integers(0, classes, samples)
    return x, y


def vectors(samples=32, inputs=5, classes=4, seed=0):
    """Inputs and labels for `mlp`."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, inputs)).astype("float32"), rng.integers(0, classes, samples)


def batches(*parts, size=8):
    """The full batches of some arrays: a `tf.data.Dataset` where TensorFlow is installed."""
    if importlib.util.find_spec("tensorflow") is None:
        return Batches(parts, size)
    import tensorflow as tf

    parts = parts[0] if len(parts) == 1 else parts
    return tf.data.Dataset.from_tensor_slices(parts).batch(size, drop_remainder=True)


class Batches(keras.utils.PyDataset):
    """The full batches of some arrays."""

    def __init__(self, parts, size):
        super().__init__()
        self.parts, self.size = parts, size

    def __len__(self):
        return len(self.parts[0]) // self.size

    def __getitem__(self, i):
        if not 0 <= i < len(self):
            raise IndexError(i)
        return tuple(part[i * self.size : (i + 1) * self.size] for part in self.parts)


def cnn(name, filters=4, classes=4, activation=None, seed=0, regularizer=None, dropout=0.0):
    """Taps: `conv`, `relu`, `features`, `logits`."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((6, 6, 1), name=f"{name}_input")
    x = layers.Conv2D(filters, 3, name="conv", kernel_regularizer=regularizer)(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(8, activation="relu", name="features")(x)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    outputs = layers.Dense(classes, activation=activation, name="logits")(x)
    return keras.Model(inputs, outputs, name=name)


def mlp(name, inputs=5, units=8, classes=4, activation=None, seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            layers.Dense(units, activation="relu", name="hidden"),
            layers.Dense(classes, activation=activation, name="head"),
        ],
        name=name,
    )


def sparse_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Counting(keras.layers.Layer):
    """Passes its input on and counts how often it ran, in the compiled graph too."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.count = self.add_weight(
            shape=(), initializer="zeros", trainable=False, dtype="int32", name="count"
        )

    def call(self, x):
        self.count.assign_add(1)
        return x


def counted(model):
    """The model with a counter at its input: (model, counter)."""
    counter = Counting(name=f"{model.name}_counter")
    inputs = keras.Input(model.input_shape[1:])
    return keras.Model(inputs, model(counter(inputs)), name=f"counted_{model.name}"), counter


def named(name, keys=("image",), units=4, inputs=5, form=dict, seed=0):
    """A Functional model of inputs with names, given as a dict, a list or a single input.

    Layers: `hidden`, `head`.
    """
    keras.utils.set_random_seed(seed)
    given = {key: keras.Input((inputs,), name=key) for key in keys}
    x = layers.Concatenate()(list(given.values())) if len(given) > 1 else given[keys[0]]
    x = layers.Dense(6, activation="relu", name="hidden")(x)
    parts = given if form is dict else list(given.values())
    parts = parts[0] if form is None else parts
    return keras.Model(parts, layers.Dense(units, name="head")(x), name=name)


def pairs(samples=32, inputs=5, seed=0):
    """Inputs for `named`, of which the first in the alphabet is the wrong one, and labels."""
    rng = np.random.default_rng(seed)
    x = {key: rng.normal(size=(samples, inputs)).astype("float32") for key in ("audio", "image")}
    x["audio"] *= 5
    return x, rng.integers(0, 4, samples)
