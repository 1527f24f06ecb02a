"""Accuracy with and without quantization-aware training on networks that int8 damages.

Fashion-MNIST, teacher and 5,000 images as in `compression`. Both networks are trained with the
teacher. "squeeze and excite" is a small EfficientNet: inverted bottlenecks with SiLU, whose wide
value ranges int8 covers with 256 values. "uneven channels" is a small MobileNet whose batch
normalization has been folded into the kernels, and whose channels have been multiplied by factors
from 1/8 to 8, by which the next kernel divides: the network computes the same in float, and int8
has few values for most channels.

From the same network, copies are trained further for as many epochs: in float with the teacher,
quantization-aware by tensorflow-model-optimization with the teacher, and by the native engine with
the teacher and with labels alone. Accuracies of the files on the 10,000 test images.
"""

import keras
import numpy as np
from keras import layers

import keras_kd as kd
from benchmarks.export import compression
from benchmarks.export.compression import measure_accuracies, train_copy, training_arguments
from benchmarks.runner.results import mean_sd, table
from keras_kd.compression.qat.folding import fold

WIDTH, EXPANSION, BLOCKS = 8, 4, 5
NETWORKS = ("squeeze and excite", "uneven channels")
#: Epochs and highest learning rate of the first training.
SETTINGS = (30, 1e-2)
#: By row of the table: title and metric.
ROWS = {
    "float32": "float_float32_accuracy",
    "int8 after training": "float_int8_accuracy",
    "int8, tensorflow-model-optimization": "tfmot_int8_accuracy",
    "int8, native, labels alone": "labels_int8_accuracy",
    "int8, native": "native_int8_accuracy",
}


def plan(done, seeds, quick):
    return [({"network": name}, seed) for seed in range(seeds) for name in NETWORKS]


def run(cell, seed, quick):
    start = build_student(cell["network"], seed, quick)

    def arguments(with_teacher=True):
        return training_arguments(
            *compression.SETTINGS["quantize_aware"], with_teacher, seed, quick
        )

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
    build = build_plain if name == "uneven channels" else build_network
    start = build(seed, blocks=1 if quick else BLOCKS)
    training = training_arguments(*SETTINGS, True, seed, quick)
    kd.compression.Training(**training).distill(start)
    return make_uneven(start, seed) if name == "uneven channels" else start


def build_plain(seed, blocks, normalized=True):
    """Return pairs of depthwise and pointwise convolutions, as in MobileNet."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((28, 28, 1))
    for i in range(2 * (blocks // 2) + 1):
        strides = 2 if i in (0, 3) else 1
        settings = {"padding": "same", "use_bias": not normalized}
        if i % 2:
            x = layers.DepthwiseConv2D(3, strides, **settings)(x)
        else:
            x = layers.Conv2D(4 * WIDTH, 1 if i else 3, strides, **settings)(x)
        x = layers.ReLU()(new_norm()(x) if normalized else x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x), name="plain")


def make_uneven(trained, seed):
    """Return the network with its normalizations folded, and channels multiplied by factors.

    The layer after a ReLU divides by the factors of the layer before: the function is the same.
    """
    convolutions = find_convolutions(trained)
    norms = [layer for layer in trained.layers if isinstance(layer, layers.BatchNormalization)]
    model = build_plain(seed, len(convolutions) - 1, normalized=False)
    rng, before = np.random.default_rng(seed), np.ones(1)
    for layer, old, norm in zip(find_convolutions(model), convolutions, norms, strict=True):
        kernel, bias = fold(old, old.get_weights(), norm)
        factors = np.exp2(rng.uniform(-3, 3, len(bias)))
        if isinstance(layer, layers.DepthwiseConv2D):
            even = (factors / before)[:, None]
        else:
            even = factors / before[:, None]
        layer.set_weights([kernel * even, bias * factors])
        before = factors
    kernel, bias = trained.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel / before[:, None], bias])
    return model


def find_convolutions(model):
    kinds = (layers.Conv2D, layers.DepthwiseConv2D)
    return [layer for layer in model.layers if isinstance(layer, kinds)]


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
        y = new_norm()(layers.Conv2D(WIDTH, 1, use_bias=False)(y))
        x = layers.Add()([x, y]) if strides == 1 else y
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x), name="narrow")


def silu(layer, x):
    return layers.Activation("silu")(new_norm()(layer(x)))


def new_norm():
    # A lower momentum, so that the statistics follow within few steps.
    return layers.BatchNormalization(momentum=0.9)


def excite(x):
    weight = layers.GlobalAveragePooling2D(keepdims=True)(x)
    weight = layers.Conv2D(4, 1, activation="silu")(weight)
    weight = layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(weight)
    return layers.Multiply()([x, weight])


def report(done):
    known = [name for name in NETWORKS if done.where(network=name)]
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
    if lost < 0.005:
        return (
            f'"{name}": int8 loses {100 * lost:.2f} points after training, too little to recover.'
        )
    share = (means["int8, native"] - means["int8 after training"]) / lost
    return (
        f'"{name}": int8 loses {100 * lost:.2f} points after training; the native engine with the '
        f"teacher recovers {100 * share:.0f} % of them."
    )
