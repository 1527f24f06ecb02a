"""Small students for quantization-aware training, with batch statistics and biases."""

import keras
import numpy as np
from keras import layers

from keras_kd.models.graph import open_graph


def randomized(model, seed=0):
    """Give normalizations random statistics and every bias random values."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = weight.shape
        if weight.name in ("moving_variance", "gamma"):
            weight.assign(rng.uniform(0.6, 1.6, shape))
        elif weight.name in ("moving_mean", "beta", "bias"):
            weight.assign(rng.normal(0, 0.3, shape))
    return model


def stack(*steps, shape=(8, 8, 3), dtype="float32", name="student"):
    """A model of layers, or functions of a tensor, one after the other."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(shape, dtype=dtype, name="x")
    for step in steps:
        x = step(x)
    return randomized(keras.Model(inputs, x, name=name))


def cnn():
    """A CNN with most kinds of layers that are rounded."""

    def block(x):
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
        y = layers.BatchNormalization(name="norm_2")(y)
        y = layers.Activation("silu", name="silu")(y)
        return layers.ReLU(name="relu_2")(layers.Add(name="add")([x, y]))

    def branches(x):
        y = layers.Conv2D(4, 1, activation="relu", name="branch")(x)
        return layers.Concatenate(name="join")([x, y])

    return stack(
        layers.Rescaling(0.5, name="scale"),
        layers.Conv2D(8, 3, use_bias=False, name="conv"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
        block,
        branches,
        layers.MaxPooling2D(2, name="pool"),
        layers.GlobalAveragePooling2D(name="mean"),
        layers.Dense(4, name="logits"),
        shape=(10, 10, 3),
    )


def attention(name="attention"):
    return lambda x: layers.MultiHeadAttention(2, 4, name=name)(x, x)


def samples(model, count=32, seed=0):
    """Random samples for a model."""
    rng = np.random.default_rng(seed)
    (x,) = model.inputs
    if "int" in x.dtype:
        return rng.integers(0, 9, (count, *x.shape[1:]))
    return rng.normal(size=(count, *x.shape[1:])).astype("float32")


def only_call(model, name):
    """Return the call of a layer of a model."""
    (call,) = open_graph(model).calls[name]
    return call
