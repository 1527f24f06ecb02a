"""The networks of the pairs in mixed bfloat16, and tiny ones for the quick form."""

from threading import Lock

import keras
from keras import layers

from examples.cifar100_networks import build_network

CLASSES = 100
#: Teacher and student of each pair.
PAIRS = {
    "vgg": ("vgg13", "vgg8"),
    "resnet": ("resnet32x4", "resnet8x4"),
    "tiny": ("tiny_teacher", "tiny_student"),
}
_ONE_AT_A_TIME = Lock()  # Initializers draw from Python's own random generator.
TINY = {"tiny_teacher": (8, 8), "tiny_student": (4, 4)}


def build(name, seed=0):
    """Return a network with float32 weights and logits that computes in bfloat16.

    It has no regularization: the optimizer decays the weights.
    """
    with _ONE_AT_A_TIME:
        keras.utils.set_random_seed(seed)
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            network = _build_tiny(name) if name in TINY else build_network(name, CLASSES)
        finally:
            keras.config.set_dtype_policy("float32")
    for variable in network.trainable_variables:
        variable.regularizer = None
    return network


def _build_tiny(name):
    x = inputs = keras.Input((32, 32, 3))
    for width in TINY[name]:
        x = layers.Conv2D(width, 3, strides=2, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(CLASSES, dtype="float32")(x), name=name)
