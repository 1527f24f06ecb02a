"""Accuracy and compressed size of int8 files after compression, with and without the teacher.

Fashion-MNIST, images, teacher and student of shared/fashion_mnist.py. Every row starts from the
same distilled student of a seed and is trained for the same number of epochs with the teacher
(whose outputs are cached) and the labels, or with the labels alone. All numbers are for the
`.tflite` files on the 10,000 test images, after the last epoch.
"""

import gzip
import math
import statistics
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

import keras_kd as kd
from benchmarks.runner.results import mean_sd, save_chart, table
from benchmarks.shared.fashion_mnist import DATA, build_student, load_teacher
from benchmarks.shared.training import (
    CACHE,
    load_arrays,
    load_or_train,
    sparse_loss,
    to_batches,
)
from keras_kd.export.benchmark import compare_latency

# Latencies need the machine to themselves.
ALONE = True
IMAGES, BATCH = 5000, 128
#: Stages of the results: the distilled student, and its compressions with and without a teacher.
START, WITH_TEACHER, LABELS_ALONE = "start", "with_teacher", "labels"
#: The stage that only times files, in alternating blocks of runs; their training is short.
LATENCY = "latency"
#: Epochs and highest learning rate of each technique.
SETTINGS = {
    "distill": (60, 1e-2),
    "float": (20, 2e-3),
    "prune": (40, 1e-2),
    "cluster": (10, 2e-3),
    "quantize_aware": (10, 2e-3),
    "shrink": (40, 1e-2),
}
#: By row: title, technique, row that it starts from, amount.
ROWS = {
    "float": ("not compressed", "float", "start"),
    "pruned_50": ("pruned to 50 %", "prune", "start", 0.5),
    "pruned_80": ("pruned to 80 %", "prune", "start", 0.8),
    "pruned_90": ("pruned to 90 %", "prune", "start", 0.9),
    "clustered": ("16 clusters", "cluster", "start", 16),
    "both": ("pruned to 80 %, 16 clusters", "cluster", "pruned_80", 16),
    "shrunk": ("shrunk to 70 % of the channels", "shrink", "start", 0.7),
    "qat": ("QAT", "quantize_aware", "start"),
    "pqat": ("pruned to 80 %, QAT (PQAT)", "quantize_aware", "pruned_80"),
    "cqat": ("16 clusters, QAT (CQAT)", "quantize_aware", "clustered"),
    "pcqat": ("pruned to 80 %, 16 clusters, QAT (PCQAT)", "quantize_aware", "both"),
}
QUICK = ("pruned_80", "pqat")


def plan(done, seeds, quick):
    stages = (START, WITH_TEACHER) if quick else (START, WITH_TEACHER, LABELS_ALONE, LATENCY)
    return [({"stage": stage}, seed) for seed in range(seeds) for stage in stages]


def run(cell, seed, quick):
    start = load_or_train(
        f"compression_student_{seed}{'_quick' if quick else ''}", lambda: train_student(seed, quick)
    )
    if cell["stage"] == START:
        return measure_files({"start": start}, quick)
    if cell["stage"] == LATENCY:
        return measure_latencies({"start": start, **compress(start, True, seed, True, ROWS)})
    return measure_files(compress(start, cell["stage"] == WITH_TEACHER, seed, quick), quick)


def train_student(seed, quick):
    """Return the distilled student that all rows start from."""
    student = build_student(seed)
    training = training_arguments(*SETTINGS["distill"], True, seed, quick)
    distiller = kd.Distiller(student, training["teachers"])
    distiller.compile(training["optimizer"], loss=training["loss"])
    distiller.fit(training["data"], epochs=training["epochs"], verbose=0)
    return student


def compress(start, with_teacher, seed, quick, names=None):
    """Return the compressed students by row."""
    students = {"start": start}
    for name in names or (QUICK if quick else ROWS):
        _, technique, before, *amount = ROWS[name]
        training = training_arguments(*SETTINGS[technique], with_teacher, seed, quick)
        if technique == "float":
            students[name] = train_copy(start, training)
        elif technique == "shrink":
            students[name] = kd.compression.shrink(start, *amount).model
            kd.compression.Training(**training).distill(students[name])
        else:
            function = getattr(kd.compression, technique)
            students[name] = function(students[before], *amount, **training).model
    del students["start"]
    return students


def train_copy(start, training):
    """Return a copy of the student that is trained further, without compression."""
    student = keras.models.clone_model(start)
    student.set_weights(start.get_weights())
    kd.compression.Training(**training).distill(student)
    return student


def training_arguments(epochs, rate, with_teacher, seed, quick):
    """Return the arguments of a training; with and without the teacher they are the same."""
    epochs, images = (1, 512) if quick else (epochs, IMAGES)
    samples = tf.data.Dataset.from_tensor_slices(load_arrays(DATA, f"train[:{images}]"))
    keras.utils.set_random_seed(seed)
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-images // BATCH))
    common = {
        "epochs": epochs,
        "optimizer": keras.optimizers.Adam(schedule),
        "loss": sparse_loss(),
        "verbose": 0,
    }
    if not with_teacher:
        return {"data": samples.shuffle(images, seed=seed).batch(BATCH), **common}
    path = CACHE / f"compression_knowledge{'_quick' if quick else ''}"
    cache = kd.KnowledgeCache.build(load_teacher(quick), samples, path, verbose=0)
    data = cache.join(kd.keyed(samples).shuffle(images, seed=seed).batch(BATCH))
    return {"data": data, "teachers": cache.teachers, **common}


def measure_files(students, quick):
    """Return accuracy, size and latency of the int8 and float32 files of students."""
    count = 500 if quick else 10_000
    test = to_batches(*load_arrays(DATA, f"test[:{count}]"))
    calibration, _ = load_arrays(DATA, "train[:500]")
    metrics = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, student in students.items():
            kinds = ("int8",) if quick or name.endswith("qat") else ("float32", "int8")
            for kind in kinds:
                path = Path(folder) / f"{name}_{kind}.tflite"
                file = kd.export.to_tflite(student, path, kind, calibration)
                metrics |= {
                    f"{name}_{kind}_accuracy": kd.export.evaluate(file, test).accuracy,
                    f"{name}_{kind}_bytes": file.size,
                    f"{name}_{kind}_gzip": len(gzip.compress(path.read_bytes(), 9, mtime=0)),
                }
            metrics[f"{name}_macs"] = kd.export.benchmark(file, runs=1).macs
    return metrics


def measure_latencies(students):
    """Return the latencies of the int8 files of students in microseconds."""
    calibration, _ = load_arrays(DATA, "train[:500]")
    with tempfile.TemporaryDirectory() as folder:
        files = {
            name: kd.export.to_tflite(
                student, Path(folder) / f"{name}.tflite", "int8", calibration, tolerance=math.inf
            )
            for name, student in students.items()
        }
        found = compare_latency(files, runs=1000)
    return {f"{name}_us": latency.median_us for name, latency in found.items()}


def measure_accuracies(students, quick):
    """Return the accuracy of the int8 files of students, and of the float32 file of `"float"`."""
    test = to_batches(*load_arrays(DATA, f"test[:{500 if quick else 10_000}]"))
    calibration, _ = load_arrays(DATA, "train[:500]")
    metrics = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, student in students.items():
            for kind in ("float32", "int8") if name == "float" else ("int8",):
                path = Path(folder) / f"{name}_{kind}.tflite"
                file = kd.export.to_tflite(student, path, kind, calibration, tolerance=math.inf)
                metrics[f"{name}_{kind}_accuracy"] = kd.export.evaluate(file, test).accuracy
    return metrics


def report(done):
    if not done.where(stage=START) or not done.where(stage=WITH_TEACHER):
        return ""
    known = done.where(stage=WITH_TEACHER)[0]["metrics"]
    rows = [_row(done, "start", "distilled student", START, START)]
    rows += [
        _row(done, name, title, LABELS_ALONE, WITH_TEACHER)
        for name, (title, *_) in ROWS.items()
        if f"{name}_int8_accuracy" in known
    ]
    # Short, so that the table fits next to the navigation of the site.
    header = ["", "float32, labels %", "float32, teacher %", "int8, labels %", "int8, teacher %"]
    header += ["int8 kB (gzip, share)", "µs"]
    return f"{table(header, rows)}\n\n{_teacher_gain(done)}".rstrip()


def _teacher_gain(done):
    """Return a sentence on how often and by how much the teacher improves the int8 file."""
    gains, labels = [], done.where(stage=LABELS_ALONE)
    for name in ROWS:
        metric = f"{name}_int8_accuracy"
        if labels and all(metric in run["metrics"] for run in labels):
            pairs = zip(
                done.values(metric, stage=WITH_TEACHER),
                done.values(metric, stage=LABELS_ALONE),
                strict=False,
            )
            gains.append([with_teacher - alone for with_teacher, alone in pairs])
    ahead = [gain > 0 for row in gains for gain in row]
    if not ahead:
        return ""
    means = [100 * statistics.mean(row) for row in gains]
    return (
        f"With the teacher, the int8 file is better in {sum(ahead)} of {len(ahead)} pairs of a "
        f"technique and a seed; the mean gain of a row is {min(means):.1f} to {max(means):.1f} "
        "points."
    )


def _row(done, name, title, alone, with_teacher):
    """Return accuracies without and with the teacher; size and latency with the teacher."""
    accuracies = []
    for metric in (f"{name}_float32_accuracy", f"{name}_int8_accuracy"):
        for stage in (alone, with_teacher):
            runs = done.where(stage=stage)
            known = runs and metric in runs[0]["metrics"]
            accuracies.append(mean_sd(done.values(metric, stage=stage), 100) if known else "")
    packed = done.values(f"{name}_int8_gzip", stage=with_teacher)
    plain = done.values("start_int8_gzip", stage=START)
    size = statistics.mean(done.values(f"{name}_int8_bytes", stage=with_teacher)) / 1000
    timed = done.where(stage=LATENCY)
    latencies = done.values(f"{name}_us", stage=LATENCY) if timed else []
    share = mean_sd([own / first for own, first in zip(packed, plain, strict=False)])
    return [
        title,
        *accuracies,
        f"{size:.1f} ({statistics.mean(packed) / 1000:.1f}, {share})",
        mean_sd(latencies, digits=0) if latencies else "",
    ]


def chart(done, path):
    """Draw accuracy over compressed size, and what each technique shrinks."""
    from matplotlib import pyplot

    if not all(done.where(stage=stage) for stage in (LABELS_ALONE, WITH_TEACHER, LATENCY)):
        return
    figure, (upper, lower) = pyplot.subplots(2, figsize=(8, 7.6), layout="constrained")
    _draw_accuracies(done, upper)
    _draw_shares(done, lower)
    save_chart(figure, path)


def _draw_accuracies(done, axes):
    """Draw accuracy over compressed size, with and without the teacher."""
    styles = {
        LABELS_ALONE: ("labels alone", "#d98032", "o"),
        WITH_TEACHER: ("with the teacher", "#1b9e5a", "D"),
    }
    short = {
        "float": "",
        "pruned_50": "50 %",
        "pruned_80": "80 %",
        "pruned_90": "90 %",
        "clustered": "16 clusters",
        "both": "80 %, 16",
        "shrunk": "shrunk",
    }
    for stage, (label, color, marker) in styles.items():
        points = [
            [statistics.mean(done.values(f"{name}_int8_{key}", stage=stage)) for name in ROWS]
            for key in ("gzip", "accuracy")
        ]
        sizes, accuracies = [x / 1000 for x in points[0]], [100 * y for y in points[1]]
        axes.scatter(sizes, accuracies, s=50, color=color, marker=marker, label=label, zorder=3)
        for name, x, y in zip(ROWS, sizes, accuracies, strict=True):
            # Points lie close in pairs; the label of the quantization-aware one is at the side.
            place, side = ((-7, -3), "right") if name.endswith("qat") else ((0, 7), "center")
            if (stage, name) in ((LABELS_ALONE, "pcqat"), (LABELS_ALONE, "clustered")):
                place, side = (0, -14), "center"
            if (stage, name) == (WITH_TEACHER, "pruned_90"):
                place, side = (-7, -3), "right"
            text = short.get(name, name.upper())
            axes.annotate(text, (x, y), place, textcoords="offset points", ha=side, fontsize=7)
    axes.set_xlabel("int8 file after gzip, kB")
    axes.set_ylabel("test accuracy, %")
    axes.margins(0.1)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)


def _draw_shares(done, axes):
    """Draw size, operations and latency of some techniques relative to the distilled student."""
    names = ("pruned_80", "clustered", "qat", "pcqat", "shrunk")
    measures = {
        "int8_bytes": ("file", "#4c72b0"),
        "int8_gzip": ("file after gzip", "#1b9e5a"),
        "macs": ("multiplications", "#d98032"),
        "us": ("latency", "#8c8c8c"),
    }
    for i, (key, (label, color)) in enumerate(measures.items()):
        before, after = (LATENCY, LATENCY) if key == "us" else (START, WITH_TEACHER)
        plain = statistics.mean(done.values(f"start_{key}", stage=before))
        shares = [
            statistics.mean(done.values(f"{name}_{key}", stage=after)) / plain for name in names
        ]
        places = [number + 0.2 * (i - 1.5) for number in range(len(names))]
        axes.bar(places, shares, 0.18, color=color, label=label)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(
        range(len(names)),
        [ROWS[name][0].replace(", ", ",\n").replace(" of", "\nof") for name in names],
    )
    axes.tick_params("x", labelsize=7)
    axes.set_ylabel("share of the distilled student")
    axes.set_ylim(0, 1.3)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(loc="upper center", ncols=4, frameon=False)
