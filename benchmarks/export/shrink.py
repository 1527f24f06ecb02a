"""Students that are shrunk from their teacher, and the same networks from random weights.

Fashion-MNIST and a subset of CIFAR-10: teachers trained on 18,000 images, students on 4,000 of
them. At each ratio three copies of one architecture are trained for as many epochs: alone,
distilled, and distilled from the weights that `kd.compression.shrink` keeps. Accuracies on 5,000
test images, after the last epoch. All int8 files are timed in turns.
"""

import tempfile
from pathlib import Path

import keras

import keras_kd as kd
from benchmarks.export.shrink_networks import NETWORKS
from benchmarks.runner.results import mean_sd, measured_on, table
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)
from keras_kd.export.benchmark import compare_latency

RATIOS = (0.5, 0.25)
EPOCHS, BATCH, RATE = 4, 64, 3e-3
TEACHER_EPOCHS = 5
DATA = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
TITLES = {"cnn": "CNN", "resnet": "ResNet", "mobile": "MobileNetV2-like"}
#: The job that measures the files of all models.
FILES = {"files": "all"}


def plan(done, seeds, quick):
    if quick:
        cnn = {"data": "fashion_mnist", "teacher": "cnn"}
        return [({**cnn, "ratio": 1.0}, 0), ({**cnn, "ratio": 0.5}, 0)]
    teachers = [{"data": data, "teacher": name} for data in DATA for name in TITLES]
    students = [({**teacher, "ratio": ratio}) for ratio in RATIOS for teacher in teachers]
    first = [({**teacher, "ratio": 1.0}, 0) for teacher in teachers]
    return [*first, (FILES, 0), *((cell, seed) for seed in range(seeds) for cell in students)]


def run(cell, seed, quick):
    if cell == FILES:
        return measure_files()
    data, ratio = cell["data"], cell["ratio"]
    teacher = load(data, cell["teacher"], quick)
    (x, y), (x_test, y_test) = load_arrays(data, "train[:4000]"), load_arrays(data, "test[:5000]")
    if ratio == 1:
        return {"accuracy": accuracy(teacher, x_test, y_test)}
    recorded = RecordedTeachers(teacher, x)
    settings = {"learning_rate": RATE, "batch_size": BATCH, "loss": sparse_loss()}
    settings["epochs"] = 1 if quick else EPOCHS

    def distill(student):
        model = kd.Distiller(recorded.student(student), recorded.teacher, kd.losses.SoftTargets())
        compile_and_fit(model, recorded.inputs(x), y, seed=seed, **settings)
        return accuracy(student, x_test, y_test)

    shrunk = kd.compression.shrink(teacher, ratio).model
    alone, scratch = (random_copy(shrunk, seed) for _ in range(2))
    compile_and_fit(alone, x, y, seed=seed, **settings)
    return {
        "alone": accuracy(alone, x_test, y_test),
        "scratch": distill(scratch),
        "shrunk": distill(shrunk),
    }


def load(data, name, quick=False):
    """Return a trained teacher."""

    def train():
        x, y = load_arrays(data, "train[:18000]")
        model = NETWORKS[name](x.shape[1:])
        epochs = 1 if quick else TEACHER_EPOCHS
        compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=3e-3, epochs=epochs)
        return model

    return load_or_train(f"shrink_{data}_{name}{'_quick' if quick else ''}", train)


def random_copy(model, seed):
    """Return a model of the same architecture with random weights."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)


def measure_files():
    """Return the sizes of all models, and size and latency of their int8 files."""
    metrics, files = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for data in DATA:
            samples, _ = load_arrays(data, "train[:200]")
            for teacher in TITLES:
                for ratio in (1.0, *RATIOS):
                    result = kd.compression.shrink(load(data, teacher), ratio)
                    key, path = f"{data} {teacher} {ratio:g}", Path(folder) / f"{len(files)}.tflite"
                    files[key] = kd.export.to_tflite(
                        result.model, path, "int8", samples, tolerance=1e9
                    )
                    metrics[key] = {
                        "parameters": result.after.parameters,
                        "macs": result.after.macs,
                        "predicted_bytes": result.after.int8_bytes,
                        "bytes": files[key].size,
                    }
        for key, latency in compare_latency(files, runs=1000).items():
            metrics[key]["us"] = latency.median_us
    return metrics


def report(done):
    accuracies, sizes = [], []
    files = [run["metrics"] for run in done.where(**FILES)]
    for data, of_data in DATA.items():
        for name, title in TITLES.items():
            teacher, label = {"data": data, "teacher": name}, f"{title}, {of_data}"
            for ratio in (1.0, *RATIOS):
                sizes += [_sizes(f[f"{data} {name} {ratio:g}"], label, ratio) for f in files]
            for ratio in RATIOS:
                if done.where(**teacher, ratio=ratio):
                    accuracies.append(_accuracies(done, teacher, ratio, label))
    if not accuracies:
        return ""
    first = ["teacher", "ratio"]
    columns = ["seeds", "teacher %", "alone %", "distilled %", "shrunk, distilled %"]
    rows = [table([*first, *columns], accuracies)]
    columns = ["parameters", "MACs", "int8 kB", "predicted kB", "latency µs"]
    rows += [table([*first, *columns], sizes)] if sizes else []
    return "\n\n".join([*rows, measured_on(done) + " One thread."])


def _accuracies(done, teacher, ratio, label):
    (whole,) = done.values("accuracy", **teacher, ratio=1.0)
    found = [
        mean_sd(done.values(key, **teacher, ratio=ratio), 100)
        for key in ("alone", "scratch", "shrunk")
    ]
    seeds = len(done.where(**teacher, ratio=ratio))
    return [label, f"{ratio:g}", seeds, f"{100 * whole:.2f}", *found]


def _sizes(found, label, ratio):
    kilobytes = [f"{found[key] / 1000:.1f}" for key in ("bytes", "predicted_bytes")]
    counts = [f"{found[key]:,}" for key in ("parameters", "macs")]
    return [label, f"{ratio:g}", *counts, *kilobytes, f"{found['us']:.0f}"]
