"""Models × formats: what converts, what it costs in accuracy, how large and how fast the files are.

Small models of the usual kinds, each trained for a few epochs on real data, so that accuracy means
something; MobileNetV2 as well, on 2,000 images of CIFAR-10 (its own weights need the network).
Nothing is refused for its accuracy here. The files of a model take turns while they are timed, on
one thread, and two models at a time are measured on two cores: their ratios mean more than their
times.
"""

import math
import statistics
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_kd as kd
from benchmarks.runner.machine import processor
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import arrays, convolutional, sparse_loss
from keras_kd.export.benchmark import compare_latency
from keras_kd.litert.flatbuffer import flex_ops
from keras_kd.training.tf_data import disable_autotune

FORMATS = kd.export.QUANTIZATIONS
CLASSES, VOID = 11, 11  # Of CamVid.
WORDS, LENGTH = 1000, 200


def plan(done, seeds, quick):
    models = QUICK if quick else MODELS
    return [({"model": model}, seed) for seed in range(seeds) for model in models]


def run(cell, seed, quick):
    keras.utils.set_random_seed(seed)
    data, make = MODELS[cell["model"]][1:]
    train, test = data(quick)
    model = make(*train, quick, seed)
    found, files = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in FORMATS[3:4] if quick else FORMATS:
            try:
                files[kind] = kd.export.to_tflite(
                    model,
                    Path(folder) / f"{kind}.tflite",
                    kind,
                    train[0],
                    verification=test,
                    verification_samples=len(test[0]),
                    max_drop=100,
                    tolerance=math.inf,
                )
            except (ValueError, RuntimeError) as error:
                found[f"{kind}_reason"] = " ".join(str(error).split("\n")[0].split())
        for kind, latency in compare_latency(files, 5 if quick else 200).items():
            found |= _measured(kind, files[kind], latency)
    scored = next(iter(files.values())).verification
    own = {"keras": scored.model_accuracy, "parameters": model.count_params(), "cpu": processor()}
    return {**own, **found}


def _measured(kind, file, latency):
    scores = file.verification
    return {
        f"{kind}_drop": scores.drop,
        f"{kind}_agreement": scores.agreement,
        f"{kind}_difference": scores.relative_difference,
        f"{kind}_bytes": file.size,
        f"{kind}_us": latency.median_us,
        f"{kind}_noise": latency.noise,
        f"{kind}_flex_ops": len(flex_ops(file.path.read_bytes())),
    }


def clothes(quick):
    train = arrays("fashion_mnist", "train[:10000]")
    return train, arrays("fashion_mnist", "test[:2000]")


def rows_of_clothes(quick):
    return tuple((x[..., 0], y) for x, y in clothes(quick))


def frames(quick):
    splits = ("train[:16]", "test[:8]") if quick else ("train", "test")
    pairs = (arrays("camvid_small", split) for split in splits)
    # Places of no class have no label.
    return tuple((x, np.where(y[..., 0] == VOID, -1, y[..., 0].astype(int))) for x, y in pairs)


def reviews(quick):
    splits = ("train[:256]", "test[:64]") if quick else ("train[:10000]", "test[:2000]")
    (x, y), (x_test, y_test) = (arrays("imdb_reviews", split) for split in splits)
    words = layers.TextVectorization(WORDS, output_sequence_length=LENGTH)
    words.adapt(x)
    tokens = [keras.ops.convert_to_numpy(words(part)).astype("int32") for part in (x, x_test)]
    return (tokens[0], y), (tokens[1], y_test)


def photographs(quick):
    splits = ("train[:64]", "test[:16]") if quick else ("train[:2000]", "test[:500]")
    pairs = (arrays("cifar10", split) for split in splits)
    return tuple((np.asarray(keras.ops.image.resize(x, (96, 96))), y) for x, y in pairs)


def trained(model, x, y, quick, seed, loss=None, batch_size=128, epochs=4):
    """Trains with Adam and a cosine schedule down to nought."""
    # Few images take more epochs to become a model whose accuracy means something.
    epochs = 20 if quick else epochs
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(y) // batch_size))
    keras.utils.set_random_seed(seed)
    model.compile(keras.optimizers.Adam(schedule), loss or sparse_loss())
    samples = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(y), seed=seed)
    # Long epochs would end with a long wait for autotuning.
    model.fit(disable_autotune(samples.batch(batch_size).prefetch(2)), epochs=epochs, verbose=0)
    return model


def cnn(x, y, quick, seed):
    """Depthwise and transposed convolutions."""
    stack = [
        layers.Conv2D(16, 3, 2, padding="same", activation="relu"),
        layers.DepthwiseConv2D(3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(32, 1, activation="relu"),
        layers.Conv2DTranspose(16, 3, 2, padding="same", activation="relu"),
        layers.MaxPooling2D(4),
        layers.Flatten(),
        layers.Dense(10),
    ]
    return trained(keras.Sequential([layers.Input((28, 28, 1)), *stack]), x, y, quick, seed)


def unet(x, y, quick, seed):
    inputs = keras.Input(x.shape[1:])
    one = block(block(inputs, 8, 2), 8)
    two = block(block(one, 16, 2), 16)
    up = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(two), one])
    outputs = layers.Conv2D(CLASSES, 1)(block(up, 16))
    outputs = layers.UpSampling2D(interpolation="bilinear")(outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    model = keras.Model(inputs, outputs)
    return trained(model, x, y, quick, seed, loss=loss, batch_size=8, epochs=6)


def block(x, width, strides=1):
    x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def recurrent(layer):
    def make(x, y, quick, seed):
        model = keras.Sequential([layers.Input((28, 28)), layer(48), layers.Dense(10)])
        return trained(model, x, y, quick, seed)

    return make


def words(x, y, quick, seed):
    stack = [
        layers.Embedding(WORDS, 16),
        layers.Conv1D(32, 3, activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(2),
    ]
    return trained(
        keras.Sequential([layers.Input((LENGTH,), dtype="int32"), *stack]), x, y, quick, seed
    )


def transformer(x, y, quick, seed):
    """The rows of an image as tokens; two blocks."""
    inputs = keras.Input((28, 28))
    x_in = layers.Dense(32)(inputs)
    places = layers.Embedding(28, 32)(keras.ops.arange(28))
    z = x_in + places
    for _ in range(2):
        normal = layers.LayerNormalization()(z)
        z = z + layers.MultiHeadAttention(2, 16)(normal, normal)
        hidden = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(z))
        z = z + layers.Dense(32)(hidden)
    outputs = layers.Dense(10)(layers.GlobalAveragePooling1D()(z))
    return trained(keras.Model(inputs, outputs), x, y, quick, seed)


def teacher_class(x, y, quick, seed):
    """Four students that mimic a chunk each of a teacher's layer, with the teacher's head."""
    teacher = trained(convolutional("teacher", (16, 32), 64, seed=seed), x, y, quick, seed)

    def student(size):
        inputs = keras.Input((28, 28, 1))
        z = layers.Conv2D(8, 3, 2, activation="relu")(inputs)
        z = layers.Conv2D(16, 3, 2, activation="relu")(z)
        return keras.Model(inputs, layers.Dense(size)(layers.Flatten()(z)))

    students = kd.TeacherClass(teacher, "features", student, n=4)
    students.compile(keras.optimizers.Adam(3e-3))
    students.fit(x, batch_size=128, epochs=1 if quick else 4, verbose=0)
    return students.assemble()


def mobilenet(alpha):
    """MobileNetV2 of Keras at 96 × 96, of width 1 or thinner."""

    def make(x, y, quick, seed):
        model = keras.applications.MobileNetV2(
            (96, 96, 3), alpha=alpha, weights=None, classes=10, classifier_activation=None
        )
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = 0.9  # Its own, 0.999, would take thousands of steps.
        return trained(model, x, y, quick, seed, batch_size=64, epochs=8)

    return make


#: By name: its title, its data, and how it is made.
MODELS = {
    "cnn": ("CNN, depthwise and transposed", clothes, cnn),
    "unet": ("U-Net", frames, unet),
    "lstm": ("LSTM", rows_of_clothes, recurrent(layers.LSTM)),
    "gru": ("GRU", rows_of_clothes, recurrent(layers.GRU)),
    "words": ("Embedding and Conv1D", reviews, words),
    "transformer": ("transformer", rows_of_clothes, transformer),
    "teacher_class": ("class of 4 students, assembled", clothes, teacher_class),
    "mobilenet": ("MobileNetV2", photographs, mobilenet(1.0)),
    "thin_mobilenet": ("MobileNetV2 0.35", photographs, mobilenet(0.35)),
}

QUICK = ("cnn",)


def report(done):
    """Accuracy that is lost, size and time of each model in each format; what does not convert."""
    names = [name for name in MODELS if done.where(model=name)]
    if not names:
        return ""
    tables = [
        ("Points of accuracy lost (after the model's own accuracy in %)", _accuracy, True),
        ("Size in kB", _size, False),
        ("Time of a run in µs", _time, False),
    ]
    parts = []
    for title, cell, with_model in tables:
        header = ["", *(["Keras"] if with_model else []), *FORMATS]
        rows = []
        for name in names:
            accuracy = [mean_sd(done.values("keras", model=name), 100)]
            cells = [cell(done, name, kind) for kind in FORMATS]
            rows.append([MODELS[name][0], *(accuracy if with_model else []), *cells])
        parts.append(f"{title}:\n\n{table(header, rows)}")
    return "\n\n".join([*parts, *_remarks(done, names)])


def _accuracy(done, name, kind):
    if not _made(done, name, kind):
        return "no"
    return mean_sd(done.values(f"{kind}_drop", model=name))


def _size(done, name, kind):
    if not _made(done, name, kind):
        return "no"
    return f"{_mean(done, f'{kind}_bytes', name) / 1000:.1f}"


def _time(done, name, kind):
    return f"{_mean(done, f'{kind}_us', name):.1f}" if _made(done, name, kind) else "no"


def _remarks(done, names):
    """What is not in the tables: flex ops, ratios of times, reasons."""
    flex = sum(run["metrics"].get(f"{kind}_flex_ops", 0) for run in done.runs for kind in FORMATS)
    where = sorted({run["metrics"]["cpu"] for run in done.runs})
    teacher_outputs = [f"Flex ops in all these files: {flex}.", f"Timed on {'; '.join(where)}."]
    for name in [name for name in names if "mobilenet" in name]:
        times = [done.values(f"{kind}_us", model=name) for kind in ("float32", "int8")]
        ratio = mean_sd([plain / fast for plain, fast in zip(*times, strict=True)])
        teacher_outputs.append(
            f"{MODELS[name][0]}'s int8 file is {ratio} times as fast as its float32."
        )
    lines = []
    for name in names:
        for kind in FORMATS:
            reasons = {r["metrics"].get(f"{kind}_reason") for r in done.where(model=name)} - {None}
            lines += [f"- {MODELS[name][0]}, {kind}: {reason}" for reason in sorted(reasons)]
    return [" ".join(teacher_outputs), *(["What is not there:", "\n".join(lines)] if lines else [])]


def _made(done, name, kind):
    return all(f"{kind}_bytes" in run["metrics"] for run in done.where(model=name))


def _mean(done, metric, name):
    return statistics.mean(done.values(metric, model=name))
