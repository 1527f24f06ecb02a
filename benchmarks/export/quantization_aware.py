"""Accuracy with and without quantization-aware training on a network that int8 damages.

Fashion-MNIST, teacher and 5,000 images as in `compression`. The network is a small EfficientNet:
inverted bottlenecks with squeeze and excite and SiLU, whose wide value ranges int8 covers with 256
values. From the same distilled network, one copy is trained further without change and one
quantization-aware, both with the teacher, for the same number of epochs. Accuracies of the files on
the 10,000 test images.
"""

import keras
from keras import layers

import keras_kd as kd
from benchmarks.export.compression import measure_files, train_copy, training_arguments
from benchmarks.runner.results import mean_sd, table

WIDTH, EXPANSION, BLOCKS = 8, 4, 5


def plan(done, seeds, quick):
    return [({"data": "fashion_mnist"}, seed) for seed in range(seeds)]


def run(cell, seed, quick):
    start = build_network(seed, blocks=1 if quick else BLOCKS)
    training = training_arguments("distill", True, seed, quick)
    distiller = kd.Distiller(start, training["teachers"])
    distiller.compile(training["optimizer"], loss=training["loss"])
    distiller.fit(training["data"], epochs=1 if quick else 30, verbose=0)
    training = training_arguments("quantize_aware", True, seed, quick)
    students = {"float": train_copy(start, training)}
    training = training_arguments("quantize_aware", True, seed, quick)
    students["qat"] = kd.compression.quantize_aware(start, engine="tfmot", **training).model
    return measure_files(students, quick)


def build_network(seed, blocks):
    """Return inverted bottlenecks with squeeze and excite, as in EfficientNet."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((28, 28, 1))
    x = silu(layers.Conv2D(WIDTH, 3, strides=2, padding="same", use_bias=False), x)
    for i in range(blocks):
        strides = 2 if i in (0, blocks // 2) else 1
        y = silu(layers.Conv2D(EXPANSION * WIDTH, 1, use_bias=False), x)
        depthwise = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)
        y = excite(silu(depthwise, y))
        y = norm()(layers.Conv2D(WIDTH, 1, use_bias=False)(y))
        x = layers.Add()([x, y]) if strides == 1 else y
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x), name="narrow")


def silu(layer, x):
    return layers.Activation("silu")(norm()(layer(x)))


def norm():
    # A lower momentum, so that the statistics follow within few steps.
    return layers.BatchNormalization(momentum=0.9)


def excite(x):
    weight = layers.GlobalAveragePooling2D(keepdims=True)(x)
    weight = layers.Conv2D(4, 1, activation="silu")(weight)
    weight = layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(weight)
    return layers.Multiply()([x, weight])


def report(done):
    if not done.runs or "float_float32_accuracy" not in done.runs[0]["metrics"]:
        return ""
    plain = done.values("float_float32_accuracy")
    rows = []
    for title, metric in {
        "float32": "float_float32_accuracy",
        "int8 after training": "float_int8_accuracy",
        "int8, quantization-aware": "qat_int8_accuracy",
    }.items():
        values = done.values(metric)
        lost = [before - after for before, after in zip(plain, values, strict=True)]
        rows.append([title, mean_sd(values, 100), mean_sd(lost, 100)])
    pairs = zip(done.values("qat_int8_accuracy"), done.values("float_int8_accuracy"), strict=True)
    gained = mean_sd([aware - after for aware, after in pairs], 100)
    text = table(["file", "test accuracy %", "points lost"], rows)
    return f"{text}\n\nQuantization-aware training gains {gained} points, paired by seed."
