"""Small networks of many architectures, whose last layer is `head`, a linear one of 10 classes."""

import keras
from keras import layers, ops

SIDE, CLASSES, WORDS, LENGTH, STEPS, CHANNELS = 32, 10, 200, 24, 64, 6


def _application(function, **arguments):
    def build():
        base = function(
            weights=None, include_top=False, input_shape=(SIDE, SIDE, 3), pooling="avg", **arguments
        )
        return keras.Model(base.input, _head(base.output), name=base.name)

    return build


def _head(x):
    return layers.Dense(CLASSES, name="head")(x)


def _image():
    return keras.Input((SIDE, SIDE, 3))


def _block(x, filters, strides=1, activation="relu"):
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    return layers.Activation(activation)(layers.BatchNormalization()(x))


def resnet():
    inputs = _image()
    x = _block(inputs, 16)
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = _block(x, filters, strides)
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
        y = layers.BatchNormalization()(y)
        if strides > 1:
            x = layers.Conv2D(filters, 1, strides, use_bias=False)(x)
            x = layers.BatchNormalization()(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, _head(layers.GlobalAveragePooling2D()(x)))


def convnext():
    inputs = _image()
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(32, 4, 4)(inputs))
    for _ in range(2):
        y = layers.DepthwiseConv2D(7, padding="same")(x)
        y = layers.Dense(64, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(y))
        x = layers.Add()([x, layers.Dense(32)(y)])
    x = layers.LayerNormalization()(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, _head(x))


def _transformer_block(x, width, heads):
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads)(y, y)])
    y = layers.Dense(2 * width, activation="gelu")(layers.LayerNormalization()(x))
    return layers.Add()([x, layers.Dense(width)(y)])


def vision_transformer():
    inputs = _image()
    x = layers.Reshape((16, 32))(layers.Conv2D(32, 8, 8)(inputs))
    x = x + layers.Embedding(16, 32)(ops.arange(16))
    for _ in range(2):
        x = _transformer_block(x, 32, 4)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, _head(x))


def text_transformer():
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(WORDS, 32)(inputs) + layers.Embedding(LENGTH, 32)(ops.arange(LENGTH))
    for _ in range(2):
        x = _transformer_block(x, 32, 4)
    return keras.Model(inputs, _head(layers.GlobalAveragePooling1D()(x)))


def text_cnn():
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(WORDS, 32)(inputs)
    branches = [
        layers.GlobalMaxPooling1D()(layers.Conv1D(32, size, activation="relu")(x))
        for size in (2, 3, 5)
    ]
    return keras.Model(inputs, _head(layers.Concatenate()(branches)))


def series():
    x = inputs = keras.Input((STEPS, CHANNELS))
    for filters in (16, 32):
        x = layers.Conv1D(filters, 5, padding="same", use_bias=False)(x)
        x = layers.MaxPooling1D()(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.SeparableConv1D(32, 3, activation="relu")(x)
    return keras.Model(inputs, _head(layers.GlobalAveragePooling1D()(x)))


def unet():
    x = inputs = _image()
    skips = []
    for filters in (8, 16):
        x = _block(_block(x, filters), filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = _block(x, 32)
    for filters, skip in ((16, skips[1]), (8, skips[0])):
        x = layers.Conv2DTranspose(filters, 2, 2)(x)
        x = _block(layers.Concatenate()([x, skip]), filters)
    return keras.Model(inputs, layers.Conv2D(CLASSES, 1, name="head")(x))


def mixer():
    inputs = _image()
    x = layers.Reshape((16, 32))(layers.Conv2D(32, 8, 8)(inputs))
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        y = layers.Dense(16)(layers.Dense(32, activation="gelu")(y))
        x = layers.Add()([x, layers.Permute((2, 1))(y)])
        y = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(32)(y)])
    return keras.Model(inputs, _head(layers.GlobalAveragePooling1D()(x)))


def separable():
    x = inputs = _image()
    for filters in (16, 32, 64):
        x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D()(layers.Activation("silu")(layers.BatchNormalization()(x)))
    return keras.Model(inputs, _head(layers.GlobalAveragePooling2D()(x)))


def hub_resnet():
    import keras_hub

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(SIDE, SIDE, 3),
    )
    inputs = _image()
    return keras.Model(inputs, _head(layers.GlobalAveragePooling2D()(backbone(inputs))))


_applications = keras.applications
#: By name: the data and the function that builds the network.
NETWORKS = {
    "ResNet, 8 convolutions": ("images", resnet),
    "ResNet of KerasHub": ("images", hub_resnet),
    "separable convolutions, SiLU": ("images", separable),
    "ConvNeXt blocks": ("images", convnext),
    "U-Net, per pixel": ("pixels", unet),
    "ViT": ("images", vision_transformer),
    "MLP-Mixer": ("images", mixer),
    "text transformer": ("tokens", text_transformer),
    "text CNN": ("tokens", text_cnn),
    "Conv1D": ("series", series),
    "MobileNetV2": ("images", _application(_applications.MobileNetV2, alpha=0.35)),
    "MobileNetV3Small": ("bytes", _application(_applications.MobileNetV3Small)),
    "EfficientNetV2B0": ("bytes", _application(_applications.EfficientNetV2B0)),
    "ResNet50V2": ("images", _application(_applications.ResNet50V2)),
}
