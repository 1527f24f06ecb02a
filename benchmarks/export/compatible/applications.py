"""Models of keras.applications, with random weights and small images."""

import functools

import keras

from benchmarks.export.compatible.case import Case, floats, integers, sparse

#: By name: the class, the side of the images, other arguments.
_MODELS = {
    "MobileNet": ("MobileNet", 32, {"alpha": 0.25}),
    "MobileNetV2": ("MobileNetV2", 32, {"alpha": 0.35}),
    "MobileNetV3Small": ("MobileNetV3Small", 32, {}),
    "MobileNetV3Large": ("MobileNetV3Large", 32, {}),
    "EfficientNetB0": ("EfficientNetB0", 32, {}),
    "EfficientNetV2B0": ("EfficientNetV2B0", 32, {}),
    "ResNet50": ("ResNet50", 32, {}),
    "ResNet50V2": ("ResNet50V2", 32, {}),
    "VGG16": ("VGG16", 32, {}),
    "Xception": ("Xception", 71, {}),
    "ConvNeXtTiny": ("ConvNeXtTiny", 32, {}),
    "DenseNet121": ("DenseNet121", 32, {}),
}


def _build(kind, side, arguments):
    make = getattr(keras.applications, kind)
    return make(
        weights=None,
        input_shape=(side, side, 3),
        classes=10,
        classifier_activation=None,
        **arguments,
    )


def _case(kind, side, arguments):
    images = floats(side, side, 3)
    return Case(functools.partial(_build, kind, side, arguments), images, integers(10), sparse())


MODELS = {name: functools.partial(_case, *one) for name, one in _MODELS.items()}
