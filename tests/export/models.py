"""Small models to export, samples for them, and their files, each converted once."""

import functools
import gc
import tempfile
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_kd.export import conversion, to_tflite
from keras_kd.export.model_conversion import convert_model
from keras_kd.export.options import Options
from keras_kd.litert.signature import infer_signature

# The converter collects garbage in every conversion, which takes long with many imported modules.
gc.collect()
gc.freeze()
_FOLDER = tempfile.TemporaryDirectory(prefix="exported-")
RNG = np.random.default_rng(0)
IMAGES = RNG.random((40, 8, 8, 1), "float32")
TOKENS = RNG.integers(0, 20, (40, 12)).astype("int32")
BYTES = RNG.integers(0, 256, (40, 8, 8, 1)).astype("uint8")
SERIES = RNG.random((40, 6, 4), "float32")
PAIR = [RNG.random((40, 4), "float32"), RNG.random((40, 3), "float32")]


def cnn():
    """Return a convolution with batch normalization with statistics other than the initial ones."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(8, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(name="flatten"),
            layers.Dense(10, name="logits"),
        ]
    )
    norm = model.layers[1]
    rng = np.random.default_rng(1)
    norm.set_weights([rng.random(8) + 0.5, rng.random(8), rng.random(8), rng.random(8) + 0.5])
    return model


def tokens():
    return keras.Sequential(
        [
            layers.Input((12,), dtype="int32"),
            layers.Embedding(20, 8),
            layers.Conv1D(8, 3, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3),
        ]
    )


def raw_bytes():
    return keras.Sequential(
        [
            layers.Input((8, 8, 1), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def dense_prediction():
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, padding="same", strides=2, activation="relu"),
            layers.Conv2DTranspose(4, 3, padding="same", strides=2),
            layers.Conv2D(3, 1),
        ]
    )


def two_in_two_out():
    """Return a model whose inputs and outputs are not in alphabetical order."""
    b, a = layers.Input((4,), name="b"), layers.Input((3,), name="a")
    hidden = layers.Dense(8)(layers.Concatenate()([b, a]))
    return keras.Model(
        [b, a], [layers.Dense(5, name="z")(hidden), layers.Dense(2, name="y")(hidden)]
    )


def dict_in_dict_out():
    a, b = layers.Input((4,), name="right"), layers.Input((3,), name="left")
    hidden = layers.Dense(8)(layers.Concatenate()([a, b]))
    outputs = {"second": layers.Dense(2)(hidden), "first": layers.Dense(5)(hidden)}
    return keras.Model({"right": a, "left": b}, outputs)


def recurrent(layer):
    return keras.Sequential([layers.Input((6, 4)), layer, layers.Dense(3)])


def mixed(policy):
    old = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        return cnn()
    finally:
        keras.mixed_precision.set_dtype_policy(old)


def lambdas(*functions):
    """Return a model that calls TensorFlow functions on the image."""
    x = inputs = layers.Input((8, 8, 1))
    for function in functions:
        x = layers.Lambda(function)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def sinh_tan():
    """Return a model with two ops that LiteRT lacks."""
    return lambdas(tf.sinh, tf.tan)


class Subclassed(keras.Model):
    """A convolution with dropout, which behaves differently in training."""

    def __init__(self):
        super().__init__()
        self.convolve = layers.Conv2D(4, 3, activation="relu")
        self.drop = layers.Dropout(0.5)
        self.flat = layers.Flatten()
        self.head = layers.Dense(3)

    def call(self, x, training=False):
        return self.head(self.drop(self.flat(self.convolve(x)), training=training))


class SubclassedDict(keras.Model):
    """Floats and integers in a dictionary to a dictionary of outputs."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)
        self.embed = layers.Embedding(9, 4)
        self.flat = layers.Flatten()

    def call(self, x):
        return {"reals": self.dense(x["u"]), "integers": self.flat(self.embed(x["i"]))}


SUBCLASSED_DICT_INPUT = {
    "u": RNG.random((40, 4), "float32"),
    "i": RNG.integers(0, 9, (40, 5)).astype("int32"),
}
SUBCLASSED_DICT_SIGNATURE = {
    "u": tf.TensorSpec((None, 4), "float32"),
    "i": tf.TensorSpec((None, 5), "int32"),
}

_SAMPLES = {
    cnn: IMAGES,
    dense_prediction: IMAGES,
    raw_bytes: BYTES,
    sinh_tan: IMAGES,
    tokens: TOKENS,
    two_in_two_out: PAIR,
}


def export(make, quantization="float32", **options):
    """Export a model once per test session; the file must not be modified."""
    return _export(make, quantization, tuple(options.items()))


@functools.cache
def _export(make, quantization, options):
    keras.utils.set_random_seed(0)
    name = "-".join(map(str, [make.__name__, quantization, *dict(options).values()]))
    path = Path(_FOLDER.name) / f"{name}.tflite"
    options = {"outputs": "logits", **dict(options)}
    return to_tflite(make(), path, quantization, _SAMPLES[make], **options)


def export_with_flex():
    """Export `sinh_tan` with TensorFlow's ops, without a child process that converts it."""
    known = f"{conversion._SAFE_OPS} Sinh Tan"
    with mock.patch.object(conversion, "_SAFE_OPS", known):
        return export(sinh_tan, allow_flex=True)


def content(make, quantization="float32", **options):
    """Return the bytes of an exported model."""
    return export(make, quantization, **options).path.read_bytes()


def convert(model, samples=None, **options):
    """Return the bytes and the description of a model, converted without verification."""
    return convert_model(model, infer_signature(model), Options(**options), samples)
