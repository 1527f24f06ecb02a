"""From a teacher of 2.4 M parameters to an int8 file of 30 kB (MNIST) and of 60 kB (Fashion-MNIST).

The teacher learns from the labels of all training images, augmented, and is then asked once about
eight views of each image (`kd.KnowledgeCache`). Each student learns from these views, with the
labels; beside it one of the same shape from the labels of the same views alone. Both are exported
to int8. All numbers are of the 10,000 test images after the last epoch; nothing was chosen on them:
the settings were tried on the last 5,000 training images.
"""

import tempfile
from pathlib import Path

import keras
import tensorflow as tf
from keras import layers

import keras_kd as kd
from benchmarks.results import mean_sd, table
from benchmarks.training import CACHE, accuracy, arrays, convolutional, kept, sparse_loss

VIEWS = 8
BATCH = 128
#: Widths of the student's convolutions, the bound for its file, epochs of teacher and student.
DATA = {
    "mnist": {"widths": (16, 24, 32, 32), "bytes": 30_000, "teacher": 8, "student": 30},
    "fashion_mnist": {"widths": (24, 32, 48, 64), "bytes": 60_000, "teacher": 10, "student": 40},
}
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


def plan(done, seeds, quick):
    teachers = [({"data": data, "model": "teacher"}, 0) for data in DATA]
    if any(job not in done for job in teachers):
        return teachers
    students = [
        ({"data": data, "model": model}, seed)
        for seed in range(seeds)
        for data in DATA
        for model in ("distilled", "alone")
    ]
    return teachers + students


def run(cell, seed, quick):
    data = cell["data"]
    x, y = arrays(data, "test")
    if cell["model"] == "teacher":
        model = teacher(data, quick)
        knowledge(data, quick)
        return measured(model, "float32", data, x, y)
    student = trained(data, cell["model"], seed, quick)
    return measured(student, "int8", data, x, y)


def teacher(data, quick=False):
    """2.4 M parameters, trained from the labels."""

    def make():
        model = convolutional(f"{data}_teacher", (32, 64), 760, dropout=0.4, seed=1000)
        epochs = 1 if quick else DATA[data]["teacher"]
        batches = views(data, quick).shuffle(10_000, seed=0).batch(BATCH).prefetch(2)
        fit(model, batches, 1e-3, epochs, sparse_loss(), quick)
        return model

    return kept(f"headline_{data}_teacher{'_quick' if quick else ''}", make)


def views(data, quick):
    """Augmented images and labels, drawn anew in each epoch."""
    samples = images(data, quick)
    seeds = tf.data.Dataset.random(seed=0, rerandomize_each_iteration=True).batch(2)
    seeds = seeds.map(lambda seed: tf.cast(seed, "int32"))

    def view(sample, seed):
        return augment(data)(sample[0], seed), sample[1]

    return tf.data.Dataset.zip(samples, seeds).map(view, num_parallel_calls=2)


def images(data, quick):
    split = "train[:512]" if quick else "train"
    return kd.datasets.load(data, split, batch_size=None, shuffle=False)


def augment(data):
    """Shifts of up to two pixels and rotations of up to 8°; Fashion-MNIST is also flipped."""

    def augmented(image, seed):
        angle, dx, dy, side = tf.unstack(
            tf.random.stateless_uniform([4], seed, [-0.14, -2, -2, -1], [0.14, 2, 2, 1])
        )
        cos, sin, centre = tf.cos(angle), tf.sin(angle), 13.5
        if data == "fashion_mnist":
            image = tf.cond(side > 0, lambda: image[:, ::-1], lambda: image)
        turn = [
            [cos, -sin, centre - cos * centre + sin * centre + dx],
            [sin, cos, centre - sin * centre - cos * centre + dy],
        ]
        transform = tf.concat([tf.reshape(turn, [-1]), [0.0, 0.0]], 0)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None],
            transforms=transform[None],
            output_shape=[28, 28],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )[0]

    return augmented


def knowledge(data, quick=False):
    """What the teacher says of the views, on disk; built once."""
    path = CACHE / f"headline_{data}_knowledge{'_quick' if quick else ''}"
    return kd.KnowledgeCache.build(
        teacher(data, quick),
        images(data, quick),
        path,
        views=2 if quick else VIEWS,
        augment=augment(data),
        verbose=0,
    )


def trained(data, model, seed, quick):
    """The student, from the teacher's knowledge and the labels, or from the labels alone."""
    settings = DATA[data]
    student = student_model(settings["widths"], seed)
    epochs = 1 if quick else settings["student"]
    if model == "alone":
        batches = views(data, quick).shuffle(10_000, seed=seed).batch(BATCH).prefetch(2)
        fit(student, batches, 1e-2, epochs, sparse_loss(), quick)
        return student
    cache = knowledge(data, quick)
    samples = kd.keyed(images(data, quick)).shuffle(10_000, seed=seed).batch(BATCH)
    distiller = kd.Distiller(student, cache.teachers)
    fit(
        distiller,
        cache.join(samples, augment(data)).prefetch(2),
        1e-2,
        epochs,
        sparse_loss(),
        quick,
    )
    return student


def student_model(widths, seed):
    """3×3 convolutions with batch normalisation, two of them pooled; the mean; a dense layer."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((28, 28, 1))
    for i, width in enumerate(widths):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x) if i < 2 else x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x), name="student")


def fit(model, batches, rate, epochs, loss, quick):
    """Trains with Adam and a cosine schedule down to nought."""
    steps = epochs * -(-(512 if quick else 60_000) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adam(schedule), loss=loss)
    model.fit(batches, epochs=epochs, verbose=0)


def measured(model, quantization, data, x, y):
    """Accuracies of the model and of its file on the test images, bytes and time of the file."""
    train, _ = arrays(data, "train[:1000]")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{quantization}.tflite"
        file = kd.export.to_tflite(model, path, quantization, calibration=train)
        batches = [(x[i : i + 500], y[i : i + 500]) for i in range(0, len(x), 500)]
        found = kd.export.evaluate(file, batches)
        cost = kd.export.benchmark(file, runs=1000)
    return {
        "keras": accuracy(model, x, y),
        "accuracy": found.accuracy,
        "bytes": cost.size,
        "median_us": cost.median_us,
        "noise": cost.noise,
        "macs": cost.macs,
        "parameters": model.count_params(),
    }


def report(done):
    """Teacher, student alone and distilled student: accuracy, bytes and time of their files."""
    rows = []
    for data, title in TITLES.items():
        for model in ("teacher", "alone", "distilled"):
            where = {"data": data, "model": model}
            runs = done.where(**where)
            if not runs:
                continue
            first = runs[0]["metrics"]
            row = [title, model, f"{first['parameters']:,}", f"{first['bytes'] / 1000:.1f}"]
            row += [mean_sd(done.values(key, **where), 100) for key in ("keras", "accuracy")]
            rows.append([*row, mean_sd(done.values("median_us", **where), digits=1)])
    header = ["data", "model", "parameters", "file, kB", "in Keras %", "file %", "µs"]
    return table(header, rows)
