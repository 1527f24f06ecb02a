"""Accuracy with and without quantization-aware training on networks that int8 damages.

Fashion-MNIST, teacher and 5,000 images as in `compression`. Both networks are trained with the
teacher. "squeeze and excite" is a small EfficientNet: inverted bottlenecks with SiLU, whose wide
value ranges int8 covers with 256 values. In "uneven channels", depthwise blocks without
normalization, the channels of a layer have ranges that differ up to 64 times, and the next layer
divides by that: the network computes the same in float, and int8 has few values for most channels.

From the same network, copies are trained further for as many epochs: in float with the teacher,
quantization-aware by tensorflow-model-optimization with the teacher, and by the native engine with
the teacher and with labels alone. Accuracies of the files on the 10,000 test images.
"""

import itertools

import keras
import numpy as np
from keras import layers

import keras_kd as kd
from benchmarks.export.compression import (
    SETTINGS,
    measure_accuracies,
    train_copy,
    training_arguments,
)
from benchmarks.runner.results import mean_sd, table

WIDTH, EXPANSION, BLOCKS = 8, 4, 5
#: By network: the highest learning rate of the first training, of `EPOCHS` epochs.
RATES = {"squeeze and excite": 1e-2, "uneven channels": 3e-3}
EPOCHS = 30
#: By row of the table: title and metric.
ROWS = {
    "float32": "float_float32_accuracy",
    "int8 after training": "float_int8_accuracy",
    "int8, tensorflow-model-optimization": "tfmot_int8_accuracy",
    "int8, native, labels alone": "labels_int8_accuracy",
    "int8, native": "native_int8_accuracy",
}


def plan(done, seeds, quick):
    return [({"network": name}, seed) for seed in range(seeds) for name in RATES]


def run(cell, seed, quick):
    start = build_student(cell["network"], seed, quick)

    def arguments(with_teacher=True):
        return training_arguments(*SETTINGS["quantize_aware"], with_teacher, seed, quick)

    quantize = kd.compression.quantize_aware
    students = {
        "float": train_copy(start, arguments()),
        "native": quantize(start, **arguments()).model,
        "labels": quantize(start, **arguments(with_teacher=False)).model,
        "tfmot": quantize(start, engine="tfmot", **arguments()).model,
    }
    return measure_accuracies(students, quick)


def build_student(name, seed, quick):
    """Return a network trained with the teacher."""
    if name == "squeeze and excite":
        start = build_network(seed, blocks=1 if quick else BLOCKS)
    else:
        start = build_plain(seed)
    training = training_arguments(EPOCHS, RATES[name], True, seed, quick)
    kd.compression.Training(**training).distill(start)
    if name == "uneven channels":
        make_uneven(start, seed)
    return start


def build_plain(seed):
    """Return depthwise blocks without normalization."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(2 * WIDTH, 3, strides=2, padding="same", activation="relu")(inputs)
    for i in range(3):
        x = layers.DepthwiseConv2D(3, 2 if i == 1 else 1, padding="same", activation="relu")(x)
        x = layers.Conv2D(4 * WIDTH, 1, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x), name="uneven")


def make_uneven(model, seed):
    """Multiply channels before a ReLU by factors, by which the next kernel divides."""
    rng = np.random.default_rng(seed)
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    convolutions += [layer for layer in model.layers if isinstance(layer, layers.DepthwiseConv2D)]
    ordered = [layer for layer in model.layers if layer in convolutions]
    for layer, following in itertools.pairwise(ordered):
        depthwise = isinstance(layer, layers.DepthwiseConv2D)
        factors = np.exp2(rng.uniform(-3, 3, layer.bias.shape[0]))
        layer.kernel.assign(layer.kernel * (factors[:, None] if depthwise else factors))
        layer.bias.assign(layer.bias * factors)
        following.kernel.assign(following.kernel / factors[:, None])


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
    known = [name for name in RATES if done.where(network=name)]
    if not known:
        return ""
    columns = {}
    for name in known:
        plain = done.values(ROWS["float32"], network=name)
        for title, metric in ROWS.items():
            values = done.values(metric, network=name)
            lost = [before - after for before, after in zip(plain, values, strict=True)]
            columns.setdefault(title, []).extend([mean_sd(values, 100), mean_sd(lost, 100)])
    header = [text for name in known for text in (f"{name}: accuracy %", "points lost")]
    text = table(["file", *header], [[title, *cells] for title, cells in columns.items()])
    return "\n\n".join([text, *(_recovered(done, name) for name in known)])


def _recovered(done, name):
    """Return a sentence on the share of the lost accuracy that the native engine recovers."""
    means = {title: np.mean(done.values(metric, network=name)) for title, metric in ROWS.items()}
    lost = means["float32"] - means["int8 after training"]
    share = (means["int8, native"] - means["int8 after training"]) / lost if lost > 0 else 1.0
    return (
        f'"{name}": int8 loses {100 * lost:.2f} points after training; the native engine with the '
        f"teacher recovers {100 * share:.0f} % of them."
    )
