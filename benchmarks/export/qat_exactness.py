"""How far the int8 file of a quantization-aware model is from the model itself.

Networks of many architectures with random weights, on images of CIFAR-10, made-up token sequences
and made-up series. Each is trained for a few steps with `quantize_aware`. The differences are
between LiteRT and Keras on samples that were not trained on. Random weights enlarge any difference
from layer to layer, more than trained ones do.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_kd as kd
from benchmarks.export.exactness.networks import (
    CHANNELS,
    CLASSES,
    LENGTH,
    NETWORKS,
    STEPS,
    WORDS,
)
from benchmarks.runner.results import table
from benchmarks.shared.training import load_arrays, sparse_loss
from keras_kd.litert.interpreter import LiteRT
from keras_kd.models.activation_range import activation_ranges

#: `SLOW` samples are run without XNNPACK, which takes longer.
TRAIN, TEST, SLOW = 512, 1000, 128
QUICK = ("ResNet, 8 convolutions", "text CNN")


def plan(done, seeds, quick):
    names = QUICK if quick else NETWORKS
    return [({"network": name}, seed) for seed in range(seeds) for name in names]


def run(cell, seed, quick):
    kind, build = NETWORKS[cell["network"]]
    x, y = make_data(kind, 100 if quick else TRAIN + TEST, seed)
    train, test = (x[: -len(x) * 2 // 3], y[: -len(x) * 2 // 3]), x[-len(x) * 2 // 3 :]
    keras.utils.set_random_seed(seed)
    student = build()
    randomize(student, train[0], seed)
    set_head(student, train[0], seed)
    result = kd.compression.quantize_aware(
        student,
        data=train,
        epochs=1,
        batch_size=64,
        # Steps are short: with random weights, gradients of deep networks explode.
        optimizer=keras.optimizers.SGD(1e-3, global_clipnorm=1.0),
        loss=sparse_loss(),
        verbose=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        file = kd.export.to_tflite(result.model, Path(folder) / "aware.tflite", "int8")
        found = np.asarray(file.predict(test))
        other = run_without_xnnpack(file.path.read_bytes(), test[:SLOW])
    expected = result.model.predict(test, verbose=0)
    step = activation_ranges(result.model)[-1].step
    return {
        **compare(found, expected, step),
        **{f"{key}_other": x for key, x in compare(other, expected[:SLOW], step).items()},
        "classes": len(np.unique(expected.argmax(-1))),
        "quantized": len(result.layers.named("quantized")),
        "floats": len([p for p in result.layers if "no 8-bit" in p.reason]),
    }


def run_without_xnnpack(content, x):
    """Return the outputs of a file, computed by the kernels of LiteRT itself."""
    with LiteRT(content, "the file", xnnpack=False) as runner:
        (name,) = runner.inputs
        rows = [runner.run({name: row[None]}) for row in x]
    return np.concatenate([next(iter(row.values())) for row in rows])


def compare(found, expected, step):
    """Return how many samples have the same class, and how far the outputs are from each other."""
    steps = np.abs(found - expected) / step
    return {
        "agreement": float(np.mean(found.argmax(-1) == expected.argmax(-1))),
        "largest": float(steps.max()),
        "equal": float(np.mean(steps < 0.5)),
    }


def make_data(kind, count, seed):
    """Return inputs and labels of a kind."""
    rng = np.random.default_rng(seed)
    if kind in ("images", "bytes", "pixels"):
        x, y = load_arrays("cifar10", f"test[:{count}]")
        scaled = x.astype("float32") * (255 if x.max() <= 1 else 1)
        if kind == "pixels":  # A class for each brightness.
            y = np.minimum(scaled.mean(-1) * CLASSES // 256, CLASSES - 1).astype("int32")
        return (scaled if kind == "bytes" else scaled / 127.5 - 1), y
    y = rng.integers(0, CLASSES, count)
    if kind == "tokens":  # Each class has favorite words.
        favorites = rng.integers(1, WORDS, (CLASSES, 12))
        chosen = np.take_along_axis(favorites[y], rng.integers(0, 12, (count, LENGTH)), 1)
        noise = rng.integers(1, WORDS, (count, LENGTH))
        return np.where(rng.random((count, LENGTH)) < 0.4, chosen, noise).astype("int32"), y
    time = np.arange(STEPS)[None, :, None]
    shape = rng.uniform(0.05, 0.8, (CLASSES, 1, CHANNELS))[y]
    x = np.sin(shape * time + rng.uniform(0, 6, (count, 1, CHANNELS)))
    return (x + 0.3 * rng.normal(size=x.shape)).astype("float32"), y


def randomize(model, x, seed):
    """Give normalizations random scales, and the statistics of the data."""
    rng = np.random.default_rng(seed)
    norms = [
        layer for layer in model._flatten_layers() if type(layer).__name__ == "BatchNormalization"
    ]
    for norm in norms:
        if norm.scale:
            norm.gamma.assign(rng.uniform(0.7, 1.4, norm.gamma.shape))
        norm.beta.assign(rng.normal(0, 0.3, norm.beta.shape))
        norm.momentum = 0.0
    model(x[:256], training=True)
    for norm in norms:
        norm.momentum = 0.99


def set_head(model, x, seed):
    """Let the last layer mix the directions in which the features of the data differ most."""
    head = model.get_layer("head")
    features = keras.Model(model.inputs, head.input).predict(x, verbose=0)
    flat = features.reshape(-1, features.shape[-1]).astype("float64")[:20_000]
    mean = flat.mean(0)
    directions = np.linalg.svd(flat - mean, full_matrices=False)[2][:8]
    kernel = directions.T @ np.random.default_rng(seed).normal(size=(len(directions), CLASSES))
    kernel /= ((flat - mean) @ kernel).std()
    head.kernel.assign(kernel.reshape(head.kernel.shape))
    head.bias.assign(-mean @ kernel)


def report(done):
    rows = []
    for name in NETWORKS:
        runs = done.where(network=name)
        if runs:
            values = {key: done.values(key, network=name) for key in runs[0]["metrics"]}
            rows.append(
                [
                    name,
                    f"{100 * min(values['agreement']):.1f}",
                    f"{max(values['largest']):.0f}",
                    f"{100 * min(values['equal']):.1f}",
                    f"{100 * min(values['agreement_other']):.1f}",
                    f"{max(values['largest_other']):.0f}",
                    f"{values['quantized'][0]} / {values['floats'][0]}",
                ]
            )
    if not rows:
        return ""
    header = ["", "same class %", "largest difference, steps", "equal outputs %"]
    header += ["same class %, without XNNPACK", "largest difference, without XNNPACK"]
    return table([*header, "layers in 8 bits / float"], rows)
