"""Students that are shrunk from their teacher, and the same networks from random weights.

Fashion-MNIST and a subset of CIFAR-10: teachers trained on 20,000 images, students on 5,000 of
them. At each ratio three copies of one architecture are trained for as many epochs: alone,
distilled, and distilled from the weights that `kd.compression.shrink` keeps. Accuracies on 5,000
test images, after the last epoch. Sizes and latencies are those of real int8 files, at the first
seed.
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

RATIOS = (0.5, 0.25)
IMPORTANCES = ("magnitude", "taylor", "random")
EPOCHS, RATE = 6, 3e-3
TEACHER_EPOCHS = 5
DATA = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
TITLES = {"cnn": "CNN", "resnet": "ResNet", "mobile": "MobileNetV2-like"}


def plan(done, seeds, quick):
    if quick:
        data, names, ratios = ("fashion_mnist",), ("cnn",), (1.0, 0.5)
    else:
        data, names, ratios = tuple(DATA), tuple(TITLES), (1.0, *RATIOS)
    cells = [
        {"data": name, "teacher": teacher, "ratio": ratio}
        for name in data
        for teacher in names
        for ratio in ratios
    ]
    return [(c, seed) for seed in range(seeds) for c in cells if c["ratio"] < 1 or not seed]


def run(cell, seed, quick):
    data, ratio = cell["data"], cell["ratio"]
    teacher = load(data, cell["teacher"], quick)
    (x, y), (x_test, y_test) = load_arrays(data, "train[:5000]"), load_arrays(data, "test[:5000]")
    if ratio == 1:
        result = kd.compression.shrink(teacher, ratio)
        return {"accuracy": accuracy(teacher, x_test, y_test), **measure(result, x[:200])}
    recorded = RecordedTeachers(teacher, x)
    settings = {"learning_rate": RATE, "epochs": 1 if quick else EPOCHS, "loss": sparse_loss()}

    def distill(student):
        model = kd.Distiller(recorded.student(student), recorded.teacher)
        compile_and_fit(model, recorded.inputs(x), y, seed=seed, **settings)
        return accuracy(student, x_test, y_test)

    metrics = {}
    importances = IMPORTANCES if cell["teacher"] == "cnn" else IMPORTANCES[:1]
    for importance in importances:
        options = {"data": (x, y), "loss": sparse_loss(), "batch_size": 128}
        options = options if importance == "taylor" else {"seed": seed}
        result = kd.compression.shrink(teacher, ratio, importance=importance, **options)
        metrics[f"{importance}_before"] = accuracy(result.model, x_test, y_test)
        if importance == "magnitude":
            metrics |= {} if seed else measure(result, x[:200])
            alone, scratch = (random_copy(result.model, seed) for _ in range(2))
            compile_and_fit(alone, x, y, seed=seed, **settings)
            metrics["alone"] = accuracy(alone, x_test, y_test)
            metrics["scratch"] = distill(scratch)
        metrics[f"{importance}_after"] = distill(result.model)
    return metrics


def load(data, name, quick):
    """Return a trained teacher."""

    def train():
        x, y = load_arrays(data, "train[:20000]")
        model = NETWORKS[name](x.shape[1:])
        epochs = 1 if quick else TEACHER_EPOCHS
        compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=3e-3, epochs=epochs)
        return model

    return load_or_train(f"shrink_{data}_{name}{'_quick' if quick else ''}", train)


def random_copy(model, seed):
    """Return a model of the same architecture with random weights."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)


def measure(result, calibration):
    """Return the sizes of a shrunk model, and size and latency of its int8 file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.tflite"
        file = kd.export.to_tflite(result.model, path, "int8", calibration, tolerance=1e9)
        return {
            "parameters": result.after.parameters,
            "macs": result.after.macs,
            "predicted_bytes": result.after.int8_bytes,
            "bytes": file.size,
            "us": kd.export.benchmark(file, runs=1000).median_us,
        }


def report(done):
    accuracies, sizes, others = [], [], []
    for data, of_data in DATA.items():
        for name, title in TITLES.items():
            teacher = {"data": data, "teacher": name, "ratio": 1.0}
            if not done.where(**teacher):
                continue
            label = f"{title}, {of_data}"
            sizes.append(_sizes(done, teacher, label))
            for ratio in RATIOS:
                where = {**teacher, "ratio": ratio}
                if done.where(**where):
                    sizes.append(_sizes(done, where, label))
                    accuracies.append(_accuracies(done, teacher, where, label))
                    others += _importances(done, where, label) if name == "cnn" else []
    if not accuracies:
        return ""
    first = ["teacher", "ratio"]
    columns = ["teacher %", "alone %", "distilled %", "shrunk, distilled %"]
    rows = [table([*first, *columns], accuracies)]
    columns = ["parameters", "MACs", "int8 kB", "predicted kB", "latency µs"]
    rows.append(table([*first, *columns], sizes))
    columns = ["importance", "before distillation %", "distilled %"]
    rows.append(table([*first, *columns], others))
    return "\n\n".join([*rows, measured_on(done) + " One thread."])


def _accuracies(done, teacher, where, label):
    best = [mean_sd(done.values(key, **where), 100) for key in ("alone", "scratch")]
    shrunk = mean_sd(done.values("magnitude_after", **where), 100)
    whole = f"{100 * done.values('accuracy', **teacher)[0]:.2f}"
    return [label, str(where["ratio"]), whole, *best, shrunk]


def _sizes(done, where, label):
    first = next(run["metrics"] for run in done.where(**where) if not run["seed"])
    kilobytes = [f"{first[key] / 1000:.1f}" for key in ("bytes", "predicted_bytes")]
    counts = [f"{first[key]:,}" for key in ("parameters", "macs")]
    return [label, f"{where['ratio']:g}", *counts, *kilobytes, f"{first['us']:.0f}"]


def _importances(done, where, label):
    return [
        [
            *(label, str(where["ratio"]), importance),
            mean_sd(done.values(f"{importance}_before", **where), 100),
            mean_sd(done.values(f"{importance}_after", **where), 100),
        ]
        for importance in IMPORTANCES
    ]
