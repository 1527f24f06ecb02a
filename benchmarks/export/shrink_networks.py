"""Teachers of the benchmark of shrink, for small images."""

import keras
from keras import layers

from benchmarks.shared.training import build_cnn


def build_plain(shape):
    """Return two convolutions and two dense layers."""
    return build_cnn("cnn", (16, 32), 256, shape, dropout=0.4, seed=1000)


def build_resnet(shape):
    """Return three residual blocks."""
    keras.utils.set_random_seed(1000)
    x = inputs = keras.Input(shape)
    x = layers.ReLU()(convolution(x, 16, 3, 2))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = layers.ReLU()(convolution(x, filters, 3, strides))
        y = convolution(y, filters, 3)
        x = convolution(x, filters, 1, strides) if strides > 1 else x
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name="resnet")


def build_mobile(shape):
    """Return inverted bottlenecks, as in MobileNetV2: the first one without an expansion."""
    keras.utils.set_random_seed(1000)
    x = inputs = keras.Input(shape)
    x = layers.ReLU(6.0)(convolution(x, 16, 3, 2))
    for factor, filters, strides in ((1, 16, 1), (4, 24, 2), (4, 24, 1), (4, 48, 2), (4, 48, 1)):
        y = x
        if factor > 1:
            y = layers.ReLU(6.0)(convolution(x, factor * x.shape[-1], 1))
        y = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(y)
        y = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(y))
        y = convolution(y, filters, 1)
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name="mobile")


def convolution(x, filters, size, strides=1):
    x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


NETWORKS = {"cnn": build_plain, "resnet": build_resnet, "mobile": build_mobile}
