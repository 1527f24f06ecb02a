"""What compression costs, with and without the teacher: accuracy and packed size of int8 files.

Fashion-MNIST, the 5,000 labelled images, teacher and student of `against_keras_distillation`. Every
row starts from the same distilled student of a seed, and is trained for as many epochs with the
teacher (whose knowledge was kept on disk) and the labels as with the labels alone. All numbers are
of the `.tflite` files on the 10,000 test images, after the last epoch.
"""

import gzip
import statistics
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

import keras_kd as kd
from benchmarks.accuracy.against_keras_distillation import student_model, teacher
from benchmarks.runner.results import mean_sd, save_chart, table
from benchmarks.shared.training import CACHE, arrays, kept, sparse_loss

# Latencies need the machine to themselves.
ALONE = True
IMAGES, BATCH = 5000, 128
#: Epochs and the highest learning rate of each training.
SETTINGS = {
    "distill": (60, 1e-2),
    "float": (20, 2e-3),
    "prune": (40, 1e-2),
    "cluster": (10, 2e-3),
    "quantize_aware": (10, 2e-3),
}
#: By row, how it is called, what is done, to what, and how much.
ROWS = {
    "float": ("not compressed", "float", "start"),
    "pruned_50": ("pruned to 50 %", "prune", "start", 0.5),
    "pruned_80": ("pruned to 80 %", "prune", "start", 0.8),
    "pruned_90": ("pruned to 90 %", "prune", "start", 0.9),
    "clustered": ("16 clusters", "cluster", "start", 16),
    "both": ("pruned to 80 %, 16 clusters", "cluster", "pruned_80", 16),
    "qat": ("QAT", "quantize_aware", "start"),
    "pqat": ("pruned to 80 %, QAT (PQAT)", "quantize_aware", "pruned_80"),
    "cqat": ("16 clusters, QAT (CQAT)", "quantize_aware", "clustered"),
    "pcqat": ("pruned to 80 %, 16 clusters, QAT (PCQAT)", "quantize_aware", "both"),
}
QUICK = ("pruned_80", "pqat")


def plan(done, seeds, quick):
    stages = ("start", "taught") if quick else ("start", "taught", "labels")
    return [({"stage": stage}, seed) for seed in range(seeds) for stage in stages]


def run(cell, seed, quick):
    start = kept(
        f"compression_student_{seed}{'_quick' if quick else ''}", lambda: distilled(seed, quick)
    )
    if cell["stage"] == "start":
        return measured({"start": start}, quick)
    return measured(compressed(start, cell["stage"] == "taught", seed, quick), quick)


def distilled(seed, quick):
    """The student that all rows start from."""
    student = student_model(seed)
    training = arguments("distill", True, seed, quick)
    distiller = kd.Distiller(student, training["teachers"])
    distiller.compile(training["optimizer"], loss=training["loss"])
    distiller.fit(training["data"], epochs=training["epochs"], verbose=0)
    return student


def compressed(start, taught, seed, quick):
    """By row, the student that comes of it."""
    students = {"start": start}
    for name in QUICK if quick else ROWS:
        _, technique, before, *amount = ROWS[name]
        training = arguments(technique, taught, seed, quick)
        if technique == "float":
            students[name] = trained_on(start, training)
        else:
            compress = getattr(kd.compression, technique)
            students[name] = compress(students[before], *amount, **training).model
    del students["start"]
    return students


def trained_on(start, training):
    """A copy of the student, trained for longer."""
    student = keras.models.clone_model(start)
    student.set_weights(start.get_weights())
    kd.compression.Training(**training).distil(student)
    return student


def arguments(technique, taught, seed, quick):
    """How a student is trained: the same with and without the teacher, but for the teacher."""
    epochs, rate = SETTINGS[technique]
    epochs, images = (1, 512) if quick else (epochs, IMAGES)
    samples = tf.data.Dataset.from_tensor_slices(arrays("fashion_mnist", f"train[:{images}]"))
    keras.utils.set_random_seed(seed)
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-images // BATCH))
    common = {
        "epochs": epochs,
        "optimizer": keras.optimizers.Adam(schedule),
        "loss": sparse_loss(),
        "verbose": 0,
    }
    if not taught:
        return {"data": samples.shuffle(images, seed=seed).batch(BATCH), **common}
    path = CACHE / f"compression_knowledge{'_quick' if quick else ''}"
    cache = kd.KnowledgeCache.build(teacher(quick), samples, path, verbose=0)
    data = cache.join(kd.keyed(samples).shuffle(images, seed=seed).batch(BATCH))
    return {"data": data, "teachers": cache.teachers, **common}


def measured(students, quick):
    """Of each student's int8 file (and float32 file, where it has one): accuracy, bytes, time."""
    count = 500 if quick else 10_000
    x, y = arrays("fashion_mnist", f"test[:{count}]")
    test = [(x[i : i + 500], y[i : i + 500]) for i in range(0, count, 500)]
    calibration, _ = arrays("fashion_mnist", "train[:500]")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, student in students.items():
            kinds = ("int8",) if quick or name.endswith("qat") else ("float32", "int8")
            for kind in kinds:
                path = Path(folder) / f"{name}_{kind}.tflite"
                file = kd.export.to_tflite(student, path, kind, calibration)
                found |= {
                    f"{name}_{kind}_accuracy": kd.export.evaluate(file, test).accuracy,
                    f"{name}_{kind}_bytes": file.size,
                    f"{name}_{kind}_gzip": len(gzip.compress(path.read_bytes(), 9, mtime=0)),
                }
            found[f"{name}_us"] = kd.export.benchmark(file, runs=100 if quick else 1000).median_us
    return found


def report(done):
    if not done.where(stage="start") or not done.where(stage="taught"):
        return ""
    shown = done.where(stage="taught")[0]["metrics"]
    rows = [_row(done, "start", "the start", "start", "start")]
    rows += [
        _row(done, name, title, "labels", "taught")
        for name, (title, *_) in ROWS.items()
        if f"{name}_us" in shown
    ]
    # Short, so that the table fits beside the site's navigation.
    header = ["", "float32, labels %", "float32, teacher %", "int8, labels %", "int8, teacher %"]
    header += ["int8 kB (gzip'd, share)", "µs"]
    return f"{table(header, rows)}\n\n{_ahead(done)}".rstrip()


def _ahead(done):
    """In how many of the paired runs the one with the teacher has the better int8 file."""
    gains, labels = [], done.where(stage="labels")
    for name in ROWS:
        metric = f"{name}_int8_accuracy"
        if labels and all(metric in run["metrics"] for run in labels):
            pairs = zip(
                done.values(metric, stage="taught"),
                done.values(metric, stage="labels"),
                strict=False,
            )
            gains.append([taught - alone for taught, alone in pairs])
    ahead = [gain > 0 for row in gains for gain in row]
    if not ahead:
        return ""
    means = [100 * statistics.mean(row) for row in gains]
    return (
        f"With the teacher the int8 file is better in {sum(ahead)} of {len(ahead)} pairs of one "
        f"technique and seed, in the mean of a row by {min(means):.1f} to {max(means):.1f} points."
    )


def _row(done, name, title, alone, taught):
    """One row: accuracies of both kinds of training; sizes and time of the taught one's file."""
    accuracies = []
    for metric in (f"{name}_float32_accuracy", f"{name}_int8_accuracy"):
        for stage in (alone, taught):
            runs = done.where(stage=stage)
            known = runs and metric in runs[0]["metrics"]
            accuracies.append(mean_sd(done.values(metric, stage=stage), 100) if known else "")
    packed = done.values(f"{name}_int8_gzip", stage=taught)
    plain = done.values("start_int8_gzip", stage="start")
    size = statistics.mean(done.values(f"{name}_int8_bytes", stage=taught)) / 1000
    share = mean_sd([own / first for own, first in zip(packed, plain, strict=False)])
    return [
        title,
        *accuracies,
        f"{size:.1f} ({statistics.mean(packed) / 1000:.1f}, {share})",
        mean_sd(done.values(f"{name}_us", stage=taught), digits=0),
    ]


def chart(done, path):
    """Accuracy over packed size: with the labels alone, and with the teacher."""
    from matplotlib import pyplot

    if not done.where(stage="labels") or not done.where(stage="taught"):
        return
    figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    styles = {
        "labels": ("labels alone", "#d98032", "o"),
        "taught": ("with the teacher", "#1b9e5a", "D"),
    }
    short = {
        "float": "not compressed",
        "pruned_50": "50 %",
        "pruned_80": "80 %",
        "pruned_90": "90 %",
        "clustered": "16 clusters",
        "both": "80 %, 16",
    }
    for stage, (label, colour, marker) in styles.items():
        points = [
            [statistics.mean(done.values(f"{name}_int8_{key}", stage=stage)) for name in ROWS]
            for key in ("gzip", "accuracy")
        ]
        sizes, accuracies = [x / 1000 for x in points[0]], [100 * y for y in points[1]]
        axes.scatter(sizes, accuracies, s=50, color=colour, marker=marker, label=label, zorder=3)
        for name, x, y in zip(ROWS, sizes, accuracies, strict=True):
            # Points lie close in pairs, one of them quantization-aware: its name stands aside.
            place, side = ((-7, -3), "right") if name.endswith("qat") else ((0, 7), "center")
            if (stage, name) == ("labels", "pcqat"):
                place, side = (0, -14), "center"
            text = short.get(name, name.upper())
            axes.annotate(text, (x, y), place, textcoords="offset points", ha=side, fontsize=7)
    axes.set_xlabel("int8 file, gzip'd, kB")
    axes.set_ylabel("test accuracy, %")
    axes.margins(0.1)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    save_chart(figure, path)
