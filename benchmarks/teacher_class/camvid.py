"""Teacher-Class Network on CamVid: each student mimics some channels of a map.

367 frames of 120×160 for training, 233 for the test; mean intersection over union of the 11
classes, without void pixels.
"""

import keras
from keras import layers

from benchmarks.teacher_class.problem import LAYER, Problem

SHAPE, CLASSES = (120, 160, 3), 11


def unet(widths, size, name):
    """Return a small U-Net from half the frame size on; its last map has no activation."""
    x = inputs = keras.Input(SHAPE)
    skips = []
    for width in widths:
        x = conv_block(conv_block(x, width, strides=2), width)
        skips.append(x)
    for width, skip in zip(widths[-2::-1], skips[-2::-1], strict=True):
        x = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), skip])
        x = conv_block(x, width)
    return keras.Model(inputs, layers.Conv2D(size, 1, name="map")(x), name=name)


def conv_block(x, width, strides=1):
    x = layers.Conv2D(width, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def teacher():
    body = unet((32, 64, 96), 32, "body")
    x = layers.Activation("relu", name=LAYER)(body.output)
    x = layers.Conv2D(CLASSES, 1)(layers.Dropout(0.2)(x))
    x = layers.UpSampling2D(interpolation="bilinear", name="logits")(x)
    return keras.Model(body.input, x, name="teacher")


def single():
    body = unet((11, 23, 35), 32, "body")
    x = layers.Conv2D(CLASSES, 1)(layers.ReLU()(body.output))
    return keras.Model(body.input, layers.UpSampling2D(interpolation="bilinear")(x), name="single")


PROBLEM = Problem(
    data="camvid_small",
    teacher=teacher,
    teacher_settings={"learning_rate": 3e-3, "epochs": 25, "batch_size": 8},
    students={"class": lambda: [unet((6, 12, 16), 8, f"unet_{i}") for i in range(4)]},
    single=single,
    mimicry={"class": {"learning_rate": 5e-3, "epochs": 15, "batch_size": 8}},
    tuning={"learning_rate": 3e-3, "epochs": 10, "batch_size": 8},
    titles={
        "teacher": "teacher",
        "class": "4 students",
        "single": "a single student, distilled",
    },
    measure="mean IoU %",
)
plan, run, report = PROBLEM.plan, PROBLEM.run, PROBLEM.report
