"""From a teacher of 2.4 M parameters to an int8 file of 30 kB (MNIST) and of 60 kB (Fashion-MNIST).

The teacher learns from the labels of all training images, augmented, and is then asked once about
several views of each image (`kd.KnowledgeCache`). Each student learns from these views, with the
labels; beside it one of the same shape from the labels alone, of views drawn anew in each epoch.
Both are exported to int8, and each file takes turns with the teacher's float32 file. All numbers
are of the 10,000 test images after the last epoch; no setting was chosen by the students' numbers.
"""

import statistics
import tempfile
from pathlib import Path

import keras
import tensorflow as tf
from keras import layers

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import CACHE, accuracy, arrays, convolutional, kept, sparse_loss
from keras_kd.export.benchmark import compare_latency
from keras_kd.training.tf_data import disable_autotune

BATCH = 128
#: Of each data set: blocks and units of the teacher, whether it normalises its batches, its epochs,
#: those that follow with images only flipped; views that it is asked about; widths of the student's
#: convolutions, its epochs.
DATA = {
    "mnist": {
        "teacher": {"filters": (32, 64), "units": 760},
        "teaching": (8, 0),
        "views": 8,
        "widths": (16, 24, 32, 32),
        "learning": 12,
    },
    "fashion_mnist": {
        "teacher": {"filters": (32, 64, 128), "units": 1980, "norm": True},
        "teaching": (10, 5),
        "views": 4,
        "widths": (24, 32, 48, 64),
        "learning": 16,
    },
}
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


def plan(done, seeds, quick):
    """Students as soon as their teacher is there; those that learn alone after all others."""
    some = list(DATA)[:1] if quick else DATA
    teachers = [({"data": data, "model": "teacher"}, 0) for data in some]
    ready = [data for data, job in zip(some, teachers, strict=True) if job in done]
    jobs = teachers + students("distilled", ready, seeds)
    if quick or any(job not in done for job in jobs) or len(ready) < len(some):
        return jobs
    return jobs + students("alone", ready, seeds)


def students(model, some, seeds):
    return [({"data": data, "model": model}, seed) for data in some for seed in range(seeds)]


def run(cell, seed, quick):
    data = cell["data"]
    if cell["model"] == "teacher":
        model = teacher(data, quick)
        knowledge(data, quick)
        return {
            "keras": accuracy(model, *arrays(data, "test")),
            "parameters": model.count_params(),
        }
    return measured(trained(data, cell["model"], seed, quick), data, quick)


def teacher(data, quick=False):
    """2.4 M parameters, trained from the labels."""

    def make():
        settings = DATA[data]
        model = convolutional(f"{data}_teacher", **settings["teacher"], dropout=0.4, seed=1000)
        first, second = (1, 0) if quick else settings["teaching"]
        fit(model, views(data, shifted(data), quick), 1e-3, first, quick)
        if second:
            fit(model, views(data, augment(data), quick), 5e-4, second, quick)
        return model

    return kept(f"headline_{data}_teacher{'_quick' if quick else ''}", make)


def views(data, augment, quick, seed=0):
    """Batches of augmented images and labels, drawn anew in each epoch."""
    samples = images(data, quick)
    seeds = tf.data.Dataset.random(seed=0, rerandomize_each_iteration=True).batch(2)
    seeds = seeds.map(lambda seed: tf.cast(seed, "int32"))

    def view(sample, seed):
        return augment(sample[0], seed), sample[1]

    viewed = tf.data.Dataset.zip(samples, seeds).map(view, num_parallel_calls=2)
    # As a joined data set does it: an epoch's beginning would wait for autotuning to wake up.
    return disable_autotune(viewed.shuffle(10_000, seed=seed).batch(BATCH).prefetch(2))


def images(data, quick):
    split = "train[:512]" if quick else "train"
    return kd.datasets.load(data, split, batch_size=None, shuffle=False)


def augment(data):
    """What the student sees of an image."""
    return moved if data == "mnist" else mirrored


def shifted(data):
    """What the teacher sees of it at first."""
    return moved if data == "mnist" else moved_and_mirrored


def moved(image, seed):
    """A shift of up to two pixels and a rotation of up to 8°."""
    angle, dx, dy = tf.unstack(
        tf.random.stateless_uniform([3], seed, [-0.14, -2, -2], [0.14, 2, 2])
    )
    cos, sin, centre = tf.cos(angle), tf.sin(angle), 13.5
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


def moved_and_mirrored(image, seed):
    """A shift of up to two whole pixels, and perhaps a flip."""
    padded = tf.pad(image, [[2, 2], [2, 2], [0, 0]])
    return mirrored(tf.image.stateless_random_crop(padded, (28, 28, 1), seed), seed)


def mirrored(image, seed):
    """Perhaps a flip."""
    return tf.image.stateless_random_flip_left_right(image, seed)


def knowledge(data, quick=False):
    """What the teacher says of the views, on disk; built once."""
    path = CACHE / f"headline_{data}_knowledge{'_quick' if quick else ''}"
    return kd.KnowledgeCache.build(
        teacher(data, quick),
        images(data, quick),
        path,
        views=2 if quick else DATA[data]["views"],
        augment=augment(data),
        verbose=0,
    )


def trained(data, model, seed, quick):
    """The student, from the teacher's knowledge and the labels, or from the labels alone."""
    settings = DATA[data]
    student = student_model(settings["widths"], seed)
    epochs = 1 if quick else settings["learning"]
    if model == "alone":
        fit(student, views(data, augment(data), quick, seed), 1e-2, epochs, quick)
        return student
    cache = knowledge(data, quick)
    samples = kd.keyed(images(data, quick)).shuffle(10_000, seed=seed).batch(BATCH)
    distiller = kd.Distiller(student, cache.teachers)
    fit(distiller, cache.join(samples, augment(data)).prefetch(2), 1e-2, epochs, quick)
    return student


def student_model(widths, seed):
    """Convolutions with batch normalisation, the map halved by the first two; a dense layer."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((28, 28, 1))
    for i, width in enumerate(widths):
        kernel, strides = (5, 2) if i == 0 else (3, 1)
        x = layers.Conv2D(width, kernel, strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x) if i == 1 else x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x), name="student")


def fit(model, batches, rate, epochs, quick):
    """Trains with Adam and a cosine schedule down to nought."""
    steps = epochs * -(-(512 if quick else 60_000) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adam(schedule), loss=sparse_loss())
    model.fit(batches, epochs=epochs, verbose=0)


def measured(model, data, quick):
    """What the int8 file of a student is worth, beside the teacher's file of float32."""
    x, y = arrays(data, "test")
    train, _ = arrays(data, "train[:1000]")
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "student": kd.export.to_tflite(
                model, Path(folder) / "student.tflite", "int8", calibration=train
            ),
            "teacher": kd.export.to_tflite(teacher(data, quick), Path(folder) / "teacher.tflite"),
        }
        batches = [(x[i : i + 500], y[i : i + 500]) for i in range(0, len(x), 500)]
        found = kd.export.evaluate(files["student"], batches)
        times = compare_latency(files, 10 if quick else 500)
        bytes_of = {name: file.size for name, file in files.items()}
    return {
        "keras": accuracy(model, x, y),
        "accuracy": found.accuracy,
        "parameters": model.count_params(),
        "bytes": bytes_of["student"],
        "median_us": times["student"].median_us,
        "smaller": bytes_of["teacher"] / bytes_of["student"],
        "faster": times["teacher"].median_us / times["student"].median_us,
    }


def report(done):
    """Teacher, distilled student and student alone: accuracy, bytes and time of their files."""
    rows = []
    for data, title in TITLES.items():
        for model in ("teacher", "distilled", "alone"):
            where = {"data": data, "model": model}
            runs = done.where(**where)
            if not runs:
                continue
            row = [f"{title}, {model}", f"{runs[0]['metrics']['parameters']:,}"]
            row.append(mean_sd(done.values("keras", **where), 100))
            if model != "teacher":
                row += [
                    mean_sd(done.values("accuracy", **where), 100),
                    f"{statistics.mean(done.values('bytes', **where)) / 1000:.1f}",
                    f"{statistics.mean(done.values('smaller', **where)):.0f} ×",
                    mean_sd(done.values("median_us", **where), digits=1),
                    f"{mean_sd(done.values('faster', **where), digits=1)} ×",
                ]
            rows.append([*row, *[""] * (8 - len(row))])
    header = ["", "parameters", "in Keras, test accuracy %", "int8 file %", "kB"]
    return table([*header, "smaller than the teacher's", "µs", "faster than the teacher's"], rows)
