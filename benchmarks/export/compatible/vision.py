"""Image models in the style of the Keras guides."""

import keras
from keras import layers, ops

from benchmarks.export.compatible.case import Case, binary, floats, integers, sparse

CLASSES = 4


def vision_transformer():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 4, 4, name="patches")(inputs)
    x = layers.Reshape((16, 16))(x)
    x = x + layers.Embedding(16, 16, name="positions")(ops.arange(16))
    for _ in range(2):
        normalized = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(normalized, normalized)])
        hidden = layers.Dense(32, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(16)(layers.Dropout(0.1)(hidden))])
    x = layers.Flatten()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


def mlp_mixer():
    inputs = keras.Input((16, 16, 3))
    x = layers.Reshape((16, 16))(layers.Conv2D(16, 4, 4)(inputs))
    for _ in range(2):
        mixed = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        mixed = layers.Dense(16)(layers.Dense(32, activation="gelu")(mixed))
        x = layers.Add()([x, layers.Permute((2, 1))(mixed)])
        mixed = layers.Dense(32, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(16)(mixed)])
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x)))


def unet():
    x = inputs = keras.Input((16, 16, 3))
    skips = []
    for filters in (8, 16):
        x = _convolution(x, filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = _convolution(x, 16)
    for filters, skip in ((16, skips[1]), (8, skips[0])):
        x = layers.Conv2DTranspose(filters, 2, 2)(x)
        x = _convolution(layers.Concatenate()([x, skip]), filters)
    return keras.Model(inputs, layers.Conv2D(3, 1)(x))


def deeplab():
    """Atrous convolutions, a pooled branch, and bilinear resizing."""
    inputs = keras.Input((32, 32, 3))
    low = _convolution(inputs, 8, strides=2)
    x = _convolution(low, 16, strides=2)
    pooled = layers.AveragePooling2D(8)(x)
    pooled = layers.UpSampling2D(8, interpolation="bilinear")(_convolution(pooled, 8))
    branches = [_convolution(x, 8, dilation_rate=rate) for rate in (1, 2, 4)]
    x = _convolution(layers.Concatenate()([pooled, *branches]), 16)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = _convolution(layers.Concatenate()([x, _convolution(low, 8)]), 16)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    return keras.Model(inputs, layers.Conv2D(3, 1)(x))


def conv3d():
    inputs = keras.Input((8, 8, 8, 1))
    x = layers.MaxPooling3D()(layers.Conv3D(8, 3, activation="relu", padding="same")(inputs))
    x = layers.BatchNormalization()(x)
    x = layers.Conv3D(16, 3, activation="relu")(x)
    x = layers.Dense(16, activation="relu")(layers.GlobalAveragePooling3D()(x))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Dropout(0.3)(x)))


def conv_lstm():
    inputs = keras.Input((4, 8, 8, 1))
    x = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True)(inputs)
    x = layers.ConvLSTM2D(4, 3, padding="same")(layers.BatchNormalization()(x))
    x = layers.Conv2D(8, 3, 2, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))


def point_cloud():
    """PointNet: shared dense layers over the points, with a learned transformation."""
    inputs = keras.Input((32, 3))
    t = layers.Conv1D(16, 1, activation="relu")(inputs)
    t = layers.Dense(9, kernel_initializer="zeros")(layers.GlobalMaxPooling1D()(t))
    x = layers.Dot(axes=(2, 1))([inputs, layers.Reshape((3, 3))(t)])
    x = layers.Concatenate()([inputs, x])
    for filters in (16, 32):
        x = layers.Conv1D(filters, 1, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dense(16, activation="relu")(layers.GlobalMaxPooling1D()(x))
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


def autoencoder():
    inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="code")(x)
    x = layers.Conv2DTranspose(8, 3, 2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(8, 3, 2, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Conv2D(1, 3, padding="same")(x))


def detector():
    """One stage: classes and boxes for each anchor of two levels."""
    inputs = keras.Input((32, 32, 3))
    low = _convolution(_convolution(inputs, 8, strides=2), 16, strides=2)
    high = _convolution(low, 16, strides=2)
    top = layers.Add()([low, layers.UpSampling2D()(high)])
    heads = {"classes": layers.Conv2D(2 * 3, 3, padding="same", name="class_head")}
    heads["boxes"] = layers.Conv2D(2 * 4, 3, padding="same", name="box_head")
    outputs = {}
    for (name, head), size in zip(heads.items(), (3, 4), strict=True):
        levels = [layers.Reshape((-1, size))(head(level)) for level in (top, high)]
        outputs[name] = layers.Concatenate(axis=1, name=name)(levels)
    return keras.Model(inputs, outputs)


def keypoints():
    x = inputs = keras.Input((32, 32, 3))
    for filters in (8, 16):
        x = layers.SeparableConv2D(filters, 3, 2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dense(32, activation="relu")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def _convolution(x, filters, **arguments):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, **arguments)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _images(build, shape=(16, 16, 3)):
    return Case(build, floats(*shape), integers(CLASSES), sparse())


def _detector():
    # 8 × 8 and 4 × 4 positions with two anchors each.
    anchors = 2 * (64 + 16)
    y = {"classes": (floats(anchors, 3) > 1.0).astype("float32"), "boxes": floats(anchors, 4)}
    return Case(detector, floats(32, 32, 3), y, {"classes": binary(), "boxes": "huber"})


MODELS = {
    "vision transformer": lambda: _images(vision_transformer),
    "MLP-Mixer": lambda: _images(mlp_mixer),
    "U-Net": lambda: Case(unet, floats(16, 16, 3), integers(3, 16, 16), sparse()),
    "DeepLab": lambda: Case(deeplab, floats(32, 32, 3), integers(3, 32, 32), sparse()),
    "Conv3D": lambda: _images(conv3d, (8, 8, 8, 1)),
    "ConvLSTM": lambda: _images(conv_lstm, (4, 8, 8, 1)),
    "point cloud": lambda: _images(point_cloud, (32, 3)),
    "autoencoder": lambda: Case(autoencoder, floats(16, 16, 1), floats(16, 16, 1), "mse"),
    "one-stage detector": _detector,
    "keypoint regression": lambda: Case(keypoints, floats(32, 32, 3), floats(10), "mse"),
}
