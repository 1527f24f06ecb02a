"""Small image networks: the Teacher-Class Network authors' and ours."""

import keras
from keras import layers


def build_authors_teacher():
    """Return the authors' teacher for MNIST and Fashion-MNIST: 2,446,730 parameters, 256 units."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(256, activation="relu", name="features"),
            layers.Dropout(0.5),
            layers.Dense(10, name="logits"),
        ],
        name="teacher",
    )


def build_authors_student(size, filters, hidden):
    """Return the authors' student for the same data.

    For 64 units, with 32 filters and 16 hidden units, it has 21,712 parameters.
    """
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(filters, 3, activation="relu"),
            layers.Conv2D(filters, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(hidden, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(size),
        ]
    )


def build_student(widths, size, shape=(28, 28, 1)):
    """Return convolutions with batch normalization and ReLU, global average pooling, a dense layer.

    Args:
        widths: Filters and stride of each convolution.
        size: Units of the dense layer, which has no activation.
        shape: Shape of the input.
    """
    x = inputs = keras.Input(shape)
    for i, (filters, stride) in enumerate(widths):
        kernel = 3 if i else 5
        x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(size)(layers.GlobalAveragePooling2D()(x)))
