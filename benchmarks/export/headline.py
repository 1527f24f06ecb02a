"""Int8 files of 30 kB (MNIST) and 60 kB (Fashion-MNIST) from a teacher of 2.4 M parameters.

The teacher is trained on the labels of all training images, augmented, and runs once on several
views of each image (`kd.KnowledgeCache`). Each student is trained on these views and the labels; a
student of the same shape is trained on the labels alone, with new views in each epoch. Both are
exported to int8, and each file takes turns with the teacher's float32 file. All numbers are for the
10,000 test images after the last epoch; no setting was chosen by the students' results.
"""

import statistics
import tempfile
from pathlib import Path

import keras
import tensorflow as tf
from keras import layers

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.training import (
    CACHE,
    accuracy,
    build_cnn,
    load_arrays,
    load_or_train,
    sparse_loss,
    to_batches,
)
from keras_kd.export.benchmark import compare_latency
from keras_kd.training.tf_data import disable_autotune

BATCH = 128
#: By data set: network of the teacher; its epochs with all augmentation, then with the student's;
#: views in the cache; widths of the student's convolutions; its epochs.
DATA = {
    "mnist": {
        "teacher": {"filters": (32, 64), "units": 760},
        "teacher_epochs": (8, 0),
        "views": 8,
        "widths": (16, 24, 32, 32),
        "epochs": 12,
    },
    "fashion_mnist": {
        "teacher": {"filters": (32, 64, 128), "units": 1980, "norm": True},
        "teacher_epochs": (10, 5),
        "views": 4,
        "widths": (24, 32, 48, 64),
        "epochs": 16,
    },
}
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


def plan(done, seeds, quick):
    """Train each student after its teacher, and the students without a teacher last."""
    some = list(DATA)[:1] if quick else DATA
    teachers = [({"data": data, "model": "teacher"}, 0) for data in some]
    ready = [data for data, job in zip(some, teachers, strict=True) if job in done]
    jobs = teachers + student_jobs("distilled", ready, seeds)
    if quick or any(job not in done for job in jobs) or len(ready) < len(some):
        return jobs
    return jobs + student_jobs("alone", ready, seeds)


def student_jobs(model, some, seeds):
    return [({"data": data, "model": model}, seed) for data in some for seed in range(seeds)]


def run(cell, seed, quick):
    data = cell["data"]
    if cell["model"] == "teacher":
        model = load_teacher(data, quick)
        build_cache(data, quick)
        return {
            "keras": accuracy(model, *load_arrays(data, "test")),
            "parameters": model.count_params(),
        }
    return measure(train_student(data, cell["model"], seed, quick), data, quick)


def load_teacher(data, quick=False):
    """Return a teacher of 2.4 M parameters, trained on the labels."""

    def train():
        settings = DATA[data]
        model = build_cnn(f"{data}_teacher", **settings["teacher"], dropout=0.4, seed=1000)
        first, second = (1, 0) if quick else settings["teacher_epochs"]
        fit(model, augmented_batches(data, teacher_augmentation(data), quick), 1e-3, first, quick)
        if second:
            fit(
                model,
                augmented_batches(data, student_augmentation(data), quick),
                5e-4,
                second,
                quick,
            )
        return model

    return load_or_train(f"headline_{data}_teacher{'_quick' if quick else ''}", train)


def augmented_batches(data, augment, quick, seed=0):
    """Return batches of images and labels, augmented again in each epoch."""
    samples = load_images(data, quick)
    seeds = tf.data.Dataset.random(seed=0, rerandomize_each_iteration=True).batch(2)
    seeds = seeds.map(lambda seed: tf.cast(seed, "int32"))

    def augment_sample(sample, seed):
        return augment(sample[0], seed), sample[1]

    augmented = tf.data.Dataset.zip(samples, seeds).map(augment_sample, num_parallel_calls=2)
    # As in a joined data set; otherwise the start of an epoch waits for the autotuning thread.
    return disable_autotune(augmented.shuffle(10_000, seed=seed).batch(BATCH).prefetch(2))


def load_images(data, quick):
    split = "train[:512]" if quick else "train"
    return kd.datasets.load(data, split, batch_size=None, shuffle=False)


def student_augmentation(data):
    return shift_and_rotate if data == "mnist" else flip


def teacher_augmentation(data):
    return shift_and_rotate if data == "mnist" else crop_and_flip


def shift_and_rotate(image, seed):
    """Shift an image by up to two pixels and rotate it by up to 8°."""
    angle, dx, dy = tf.unstack(
        tf.random.stateless_uniform([3], seed, [-0.14, -2, -2], [0.14, 2, 2])
    )
    cos, sin, center = tf.cos(angle), tf.sin(angle), 13.5
    matrix = [
        [cos, -sin, center - cos * center + sin * center + dx],
        [sin, cos, center - sin * center - cos * center + dy],
    ]
    transform = tf.concat([tf.reshape(matrix, [-1]), [0.0, 0.0]], 0)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=transform[None],
        output_shape=[28, 28],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]


def crop_and_flip(image, seed):
    """Shift an image by up to two whole pixels and flip it with probability 1/2."""
    padded = tf.pad(image, [[2, 2], [2, 2], [0, 0]])
    return flip(tf.image.stateless_random_crop(padded, (28, 28, 1), seed), seed)


def flip(image, seed):
    """Flip an image horizontally with probability 1/2."""
    return tf.image.stateless_random_flip_left_right(image, seed)


def build_cache(data, quick=False):
    """Return the cache of the teacher's outputs for the views, built once."""
    path = CACHE / f"headline_{data}_knowledge{'_quick' if quick else ''}"
    return kd.KnowledgeCache.build(
        load_teacher(data, quick),
        load_images(data, quick),
        path,
        views=2 if quick else DATA[data]["views"],
        augment=student_augmentation(data),
        verbose=0,
    )


def train_student(data, model, seed, quick):
    """Return a student trained with the cache and the labels, or with the labels alone."""
    settings = DATA[data]
    student = build_student(settings["widths"], seed)
    epochs = 1 if quick else settings["epochs"]
    if model == "alone":
        batches = augmented_batches(data, student_augmentation(data), quick, seed)
        fit(student, batches, 1e-2, epochs, quick)
        return student
    cache = build_cache(data, quick)
    samples = kd.keyed(load_images(data, quick)).shuffle(10_000, seed=seed).batch(BATCH)
    distiller = kd.Distiller(student, cache.teachers, kd.losses.SoftTargets())
    batches = cache.join(samples, student_augmentation(data)).prefetch(2)
    fit(distiller, batches, 1e-2, epochs, quick)
    return student


def build_student(widths, seed):
    """Return convolutions with batch normalization; the first two halve the map."""
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
    """Train with Adam and a cosine schedule that decays to zero."""
    steps = epochs * -(-(512 if quick else 60_000) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adam(schedule), loss=sparse_loss())
    model.fit(batches, epochs=epochs, verbose=0)


def measure(model, data, quick):
    """Return accuracy, size and latency of a student's int8 file and of the teacher's file."""
    x, y = load_arrays(data, "test")
    train, _ = load_arrays(data, "train[:1000]")
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "student": kd.export.to_tflite(
                model, Path(folder) / "student.tflite", "int8", calibration=train
            ),
            "teacher": kd.export.to_tflite(
                load_teacher(data, quick), Path(folder) / "teacher.tflite"
            ),
        }
        result = kd.export.evaluate(files["student"], to_batches(x, y))
        times = compare_latency(files, 10 if quick else 500)
        sizes = {name: file.size for name, file in files.items()}
    return {
        "keras": accuracy(model, x, y),
        "accuracy": result.accuracy,
        "parameters": model.count_params(),
        "bytes": sizes["student"],
        "median_us": times["student"].median_us,
        "smaller": sizes["teacher"] / sizes["student"],
        "faster": times["teacher"].median_us / times["student"].median_us,
    }


def report(done):
    """Return the table of the teachers, the distilled students and the students alone."""
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
