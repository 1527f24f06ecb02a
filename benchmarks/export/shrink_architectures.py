"""Shrunk models of many architectures: do they run, train, and become int8 files that agree?

Each network is shrunk, distilled for some steps of 32 samples of CIFAR-10 or of made-up tokens and
series, and exported to int8; LiteRT and Keras are compared on 300 other samples. Shallow networks
are trained before. Deep ones have random weights; the last layer of their student is then a random
mixture of the main directions of its features, so that the classes differ.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

import keras_kd as kd
from benchmarks.export.exactness.networks import CHANNELS, CLASSES, LENGTH, STEPS, WORDS
from benchmarks.export.qat_exactness import make_data, set_head
from benchmarks.runner.results import table
from benchmarks.shared.training import sparse_loss

RATIOS = (0.5, 0.25)
BATCH, CALIBRATION, TEST = 32, 64, 300
#: Deep networks are trained for fewer steps, without tracing, which takes longer than these.
DEEP, SHALLOW, EPOCHS = 3, 100, 4
SIDE = 64


def plan(done, seeds, quick):
    cells = [{"network": name, "ratio": ratio} for ratio in RATIOS for name in NETWORKS]
    return [(cell, 0) for cell in (cells[:1] if quick else cells)]


def run(cell, seed, quick):
    kind, build = NETWORKS[cell["network"]]
    deep = cell["network"] in UNTRAINED
    steps = 1 if quick else DEEP if deep else SHALLOW
    x, y = make_data("bytes" if kind == "raw" else kind, BATCH * steps + TEST, seed)
    if kind in ("images", "raw", "pixels"):
        x = x.repeat(2, axis=1).repeat(2, axis=2)
        y = y.repeat(2, axis=1).repeat(2, axis=2) if kind == "pixels" else y
    keras.utils.set_random_seed(seed)
    teacher = build()
    if deep:
        settle(teacher)
    else:
        teacher.compile(keras.optimizers.Adam(3e-3), sparse_loss())
        teacher.fit(x[TEST:], y[TEST:], batch_size=BATCH, epochs=1 if quick else EPOCHS, verbose=0)
    result = kd.compression.shrink(teacher, cell["ratio"])
    student = result.model
    losses = distill(student, teacher, x[TEST:], y[TEST:], eager=deep)
    if deep:
        refresh(student, x[TEST:])
        set_head(student, x[TEST : TEST + CALIBRATION], seed)
    expected = student.predict(x[:TEST], batch_size=BATCH, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path, samples = Path(folder) / "student.tflite", x[TEST : TEST + CALIBRATION]
        file = kd.export.to_tflite(
            student, path, "int8", samples, verification=x[:TEST], tolerance=1e9
        )
        size, found = file.size, np.asarray(file.predict(x[:TEST]))
        (score,) = file.verification.outputs.values()
    return {
        "loss": float(losses[-1]),
        "groups": len(result.kept),
        "parameters_before": result.before.parameters,
        "parameters": result.after.parameters,
        "macs_before": result.before.macs,
        "macs": result.after.macs,
        "bytes": size,
        "predicted_bytes": result.after.int8_bytes,
        "agreement": float(np.mean(found.argmax(-1) == expected.argmax(-1))),
        "relative_difference": float(score.relative_difference),
        "classes": len(np.unique(expected.argmax(-1))),
    }


def distill(student, teacher, x, y, eager):
    """Train a student for one epoch; return the losses of its steps."""
    distiller = kd.Distiller(student, teacher, kd.losses.SoftTargets(), 0.9)
    distiller.compile(keras.optimizers.Adam(1e-3), sparse_loss(), run_eagerly=eager)
    history = []
    for start in range(0, len(x), BATCH):
        batch = slice(start, start + BATCH)
        history.append(distiller.train_on_batch(x[batch], y[batch], return_dict=True)["loss"])
    return history


def settle(model):
    """Let activations after a normalization run in their linear part.

    Otherwise dozens of layers of random weights amplify any rounding to noise, as trained ones do
    not.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.beta.assign(np.full(layer.beta.shape, 1.0))
            if layer.scale:
                layer.gamma.assign(np.full(layer.gamma.shape, 0.4))


def refresh(model, x):
    """Give normalizations the statistics of samples, for which the training is too short."""
    norms = [x for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(x, training=True)
    for norm in norms:
        norm.momentum = 0.99


def _application(function, **arguments):
    def build():
        shape = (SIDE, SIDE, 3)
        base = function(
            weights=None, include_top=False, input_shape=shape, pooling="avg", **arguments
        )
        return keras.Model(base.input, layers.Dense(CLASSES, name="head")(base.output))

    return build


def _transformer(x, width, heads, blocks):
    for _ in range(blocks):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads)(y, y)])
        y = layers.Dense(3 * width, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(width)(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return layers.Dense(CLASSES, name="head")(x)


def vision_transformer():
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Reshape((64, 48))(layers.Conv2D(48, 8, 8)(inputs))
    x = x + layers.Embedding(64, 48)(ops.arange(64))
    return keras.Model(inputs, _transformer(x, 48, 4, 3))


def text_transformer():
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(WORDS, 64)(inputs) + layers.Embedding(LENGTH, 64)(ops.arange(LENGTH))
    return keras.Model(inputs, _transformer(x, 64, 8, 3))


def _block(x, filters, groups=1):
    x = layers.Conv2D(filters, 3, padding="same", groups=groups, use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def unet():
    x = inputs = keras.Input((SIDE, SIDE, 3))
    skips = []
    for filters in (12, 24, 48):
        x = _block(_block(x, filters), filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = _block(x, 96)
    for filters in (48, 24, 12):
        x = layers.Conv2DTranspose(filters, 2, 2)(x)
        x = _block(layers.Concatenate()([x, skips.pop()]), filters)
    return keras.Model(inputs, layers.Conv2D(CLASSES, 1, name="head")(x))


def resnext():
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(32, 4, 4)(inputs)
    for _ in range(3):
        y = _block(layers.Conv2D(64, 1)(x), 64, groups=8)
        x = layers.Add()([x, layers.Conv2D(32, 1)(y)])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(CLASSES, name="head")(x))


def recurrent():
    inputs = keras.Input((STEPS, CHANNELS))
    x = layers.Conv1D(16, 4, 4, activation="relu")(inputs)
    x = layers.Bidirectional(layers.LSTM(24, return_sequences=True))(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="head")(layers.LSTM(32)(x)))


_applications = keras.applications
UNTRAINED = {
    *("MobileNetV2", "MobileNetV3Small", "EfficientNetV2B0", "ResNet50V2", "DenseNet121"),
    *("ConvNeXtTiny", "U-Net", "ResNeXt blocks"),
}
#: By name: the data and the function that builds the network.
NETWORKS = {
    "text transformer": ("tokens", text_transformer),
    "LSTM": ("series", recurrent),
    "ViT": ("images", vision_transformer),
    "ResNeXt blocks": ("images", resnext),
    "U-Net": ("pixels", unet),
    "MobileNetV2": ("images", _application(_applications.MobileNetV2)),
    "MobileNetV3Small": ("raw", _application(_applications.MobileNetV3Small)),
    "ResNet50V2": ("images", _application(_applications.ResNet50V2)),
    "EfficientNetV2B0": ("raw", _application(_applications.EfficientNetV2B0)),
    "DenseNet121": ("images", _application(_applications.DenseNet121)),
    "ConvNeXtTiny": ("raw", _application(_applications.ConvNeXtTiny)),
}


def report(done):
    parts = []
    for title, deep in (("Trained", False), ("With random weights", True)):
        rows = [
            [name, ratio, *_row(found["metrics"])]
            for name in NETWORKS
            for ratio in RATIOS
            for found in done.where(network=name, ratio=ratio)
            if (name in UNTRAINED) == deep
        ]
        header = [title, "ratio", "groups", "parameters", "MACs", "int8 kB", "predicted kB"]
        columns = ["LiteRT: same class %", "difference"]
        parts += [table([*header, *columns], rows)] if rows else []
    return "\n\n".join(parts)


def _row(found):
    error = found["predicted_bytes"] / found["bytes"] - 1
    return [
        found["groups"],
        f"{found['parameters']:,} of {found['parameters_before']:,}",
        f"{found['macs'] / 1e6:.2f} of {found['macs_before'] / 1e6:.2f} M",
        f"{found['bytes'] / 1000:,.1f}",
        f"{found['predicted_bytes'] / 1000:,.1f} ({100 * error:+.1f} %)",
        f"{100 * found['agreement']:.1f}",
        f"{found['relative_difference']:.2f}",
    ]
