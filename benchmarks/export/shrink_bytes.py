"""How near the predicted size of an int8 file is to the real one, for random shrunk networks.

Each seed draws the blocks, widths and head of a network for images; its weights are random. None
of these networks took part in the fit of the prediction.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_kd as kd
from benchmarks.export.shrink_architectures import refresh
from benchmarks.runner.results import table

NETWORKS, RATIOS, SIDE = 10, (0.6, 0.3), 32
TOLERANCE = 0.05


def plan(done, seeds, quick):
    count, ratios = (1, RATIOS[:1]) if quick else (NETWORKS, RATIOS)
    return [({"network": i, "ratio": ratio}, 0) for i in range(count) for ratio in ratios]


def run(cell, seed, quick):
    rng = np.random.default_rng(2000 + cell["network"])
    keras.utils.set_random_seed(cell["network"])
    model, kinds = build(rng)
    for weight in model.weights:
        value = weight.numpy() + rng.normal(0, 0.1, weight.shape)
        weight.assign(value)
    samples = rng.normal(size=(16, SIDE, SIDE, 3)).astype("float32")
    refresh(model, samples)
    result = kd.compression.shrink(model, cell["ratio"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.tflite"
        size = kd.export.to_tflite(result.model, path, "int8", samples, tolerance=1e9).size
    return {
        "blocks": ", ".join(kinds),
        "parameters": result.after.parameters,
        "bytes": size,
        "predicted_bytes": result.after.int8_bytes,
    }


def build(rng):
    """Return a random network, and the kinds of its blocks."""
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = _convolution(x, int(rng.integers(8, 33)), 3, 2)
    kinds, width = [], int(rng.integers(16, 65))
    for kind in rng.choice(list(BLOCKS), rng.integers(2, 5)):
        x = BLOCKS[kind](x, width)
        x = layers.MaxPooling2D()(x) if rng.random() < 0.5 and x.shape[1] > 4 else x
        kinds.append(str(kind))
        width = int(width * rng.uniform(1, 2))
    if rng.random() < 0.5:
        x = layers.Dense(width, activation="relu")(layers.Flatten()(x))
        kinds.append("dense")
    else:
        x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x)), kinds


def _convolution(x, filters, kernel=3, strides=1):
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _plain(x, width):
    x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    return layers.Conv2D(width, 3, padding="same", activation="relu")(x)


def _residual(x, width):
    y = layers.Conv2D(width, 3, padding="same")(_convolution(x, width))
    return layers.ReLU()(layers.Add()([layers.Conv2D(width, 1)(x), y]))


def _bottleneck(x, width):
    x = _convolution(x, 2 * width, 1)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return layers.BatchNormalization()(layers.Conv2D(width, 1, use_bias=False)(x))


def _excited(x, width):
    x = _convolution(x, width)
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(width // 4, 1, activation="relu")(s)
    return layers.Multiply()([x, layers.Conv2D(width, 1, activation="sigmoid")(s)])


def _branches(x, width):
    kernels = (1, 3, 5)
    return layers.Concatenate()([_convolution(x, width // 2, kernel) for kernel in kernels])


def _separable(x, width):
    return layers.SeparableConv2D(width, 3, padding="same", activation="silu")(x)


BLOCKS = {
    "plain": _plain,
    "residual": _residual,
    "bottleneck": _bottleneck,
    "squeeze-and-excite": _excited,
    "branches": _branches,
    "separable": _separable,
}


def report(done):
    rows, errors = [], []
    for one in done.runs:
        found, cell = one["metrics"], one["cell"]
        error = found["predicted_bytes"] / found["bytes"] - 1
        errors.append(abs(error))
        sizes = [f"{found[key]:,}" for key in ("parameters", "bytes", "predicted_bytes")]
        rows.append([found["blocks"], f"{cell['ratio']:g}", *sizes, f"{100 * error:+.1f}"])
    if not rows:
        return ""
    near = sum(error <= TOLERANCE for error in errors)
    header = ["blocks", "ratio", "parameters", "int8 bytes", "predicted bytes", "error %"]
    summary = f"{near} of {len(rows)} predictions are within {100 * TOLERANCE:.0f} %"
    return f"{table(header, rows)}\n\n{summary}; the largest error is {100 * max(errors):.1f} %."
