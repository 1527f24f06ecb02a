"""From a budget to a file: `kd.compress` with its defaults, and the same search without a teacher.

Teachers are trained on the labels. The search without a teacher has the same architectures from
random weights, the same steps and rates, and the labels alone. "Teacher itself" is the smallest
file of `kd.export.best` on the teacher, which no budget here is large enough for. Files are chosen
by validation images that no model is trained on; the accuracies are those of test images.
"""

import contextlib
import functools
import tempfile
from pathlib import Path
from unittest import mock

import keras

import keras_kd as kd
from benchmarks.export.shrink_networks import build_resnet
from benchmarks.runner.results import mean_sd, measured_on, table
from benchmarks.shared import fashion_mnist
from benchmarks.shared.training import (
    CACHE,
    build_cnn,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)
from benchmarks.teacher_class.data import tokenize
from benchmarks.teacher_class.imdb import build_teacher as build_imdb
from keras_kd.budget import recipe, students
from keras_kd.export.best import best

#: By data set: the limit in bytes, and the slices of training and validation.
DATA = {
    "fashion_mnist": {"bytes": 60_000, "train": 50_000, "validation": 55_000},
    "mnist": {"bytes": 30_000, "train": 50_000, "validation": 55_000},
    "cifar10": {"bytes": 25_000, "train": 18_000, "validation": 22_000},
    "imdb_reviews": {"bytes": 60_000, "train": 20_000, "validation": 25_000},
}
TITLES = {
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10, 18,000 images",
    "imdb_reviews": "IMDB",
}
METHODS = {"compress": "kd.compress", "labels": "labels alone"}


def plan(done, seeds, quick):
    if quick:
        return [({"data": "fashion_mnist", "method": "compress"}, 0)]
    teachers = [({"data": data, "method": "teacher"}, 0) for data in DATA]
    cells = [{"data": data, "method": method} for data in DATA for method in METHODS]
    return [*((cell, seed) for seed in range(seeds) for cell in cells), *teachers]


def run(cell, seed, quick):
    data, method = cell["data"], cell["method"]
    teacher = load_teacher(data, quick)
    train, validation, test = load_splits(data)
    if method == "teacher":
        return measure_teacher(teacher, train, validation, test)
    # A search that was stopped continues.
    folder = CACHE / f"budget_{data}_{method}_{seed}{'_quick' if quick else ''}"
    with search_settings(method, quick):
        result = kd.compress(
            teacher,
            train,
            validation,
            test=test,
            max_bytes=DATA[data]["bytes"],
            trials=1 if quick else None,
            path=folder,
            seed=seed,
            verbose=1,
        )
        chosen = result.chosen
        (used,) = [r for r in result.results if r.slot.name == chosen.source]
        return {
            "accuracy": chosen.test_score,
            "keras": chosen.model_score,
            "validation": chosen.score,
            "teacher": result.teacher["test_score"],
            "bytes": chosen.size,
            "latency_us": chosen.latency_us,
            "quantization": chosen.quantization,
            "student": f"{used.slot.config.family}; {used.slot.config.loss}",
            "rate": used.slot.config.rate,
            "parameters": chosen.parameters,
            "minutes": sum(r.values.get("seconds", 0) for r in result.results) / 60,
        }


@contextlib.contextmanager
def search_settings(method, quick):
    """Let a search use labels and random weights alone, or take no time."""
    with contextlib.ExitStack() as stack:
        if quick:
            few = {"LEAST_STEPS": 4, "EPOCHS": 1, "MOST_STEPS": 4}
            stack.enter_context(mock.patch.multiple(recipe, **few))
        if method == "labels":
            scaled = {k: v for k, v in students._SHRUNK.items() if k.startswith("scaled")}
            stack.enter_context(mock.patch.dict(students._SHRUNK, scaled, clear=True))
            alone = {task: {recipe.ALONE: list} for task in recipe.LOSSES}
            stack.enter_context(mock.patch.dict(recipe.LOSSES, alone))
        yield


def measure_teacher(teacher, train, validation, test):
    """Return the smallest file of the teacher itself."""
    x, y = validation
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.tflite"
        file = best(teacher, (train[0][:500],), path, objective="size", verification=(x, y))
        scores = kd.export.evaluate(file, test)
        return {"accuracy": scores.accuracy, "bytes": file.size, "quantization": file.quantization}


def load_splits(data):
    """Return training, validation and test data as arrays."""
    x, y = load_arrays(data, "train")
    cut, end = DATA[data]["train"], DATA[data]["validation"]
    cut, end = (cut, end) if end <= len(x) else (len(x) // 2, len(x))  # A quick run has few.
    if data == "imdb_reviews":
        # The reviews of TFDS come in random order.
        x, y = _tokenized("train"), y.astype("float32")
        test = _tokenized("test"), load_arrays(data, "test")[1].astype("float32")
    else:
        test = load_arrays(data, "test")
    return (x[:cut], y[:cut]), (x[cut:end], y[cut:end]), test


@functools.lru_cache(maxsize=2)
def _tokenized(split):
    return tokenize(load_arrays("imdb_reviews", split)[0])


def load_teacher(data, quick=False):
    """Return a teacher; the images that students are chosen by were not in its training data."""
    if data == "fashion_mnist":
        return fashion_mnist.load_teacher(quick)
    suffix = "_quick" if quick else ""
    return load_or_train(f"budget_{data}{suffix}", lambda: train_teacher(data, quick))


def train_teacher(data, quick):
    (x, y), _, _ = load_splits(data)
    settings = {"learning_rate": 1e-3, "epochs": 1 if quick else 6}
    loss = sparse_loss()
    if data == "mnist":
        model = build_cnn("teacher", (32, 64), 760, dropout=0.4, seed=1000)
    elif data == "cifar10":
        model = build_resnet(x.shape[1:])
        settings = {"learning_rate": 3e-3, "epochs": 1 if quick else 12}
    else:
        keras.utils.set_random_seed(1000)
        model, loss = build_imdb(), keras.losses.BinaryCrossentropy(from_logits=True)
        settings["epochs"] = 1 if quick else 2
    compile_and_fit(model, x, y, loss=loss, **settings)
    return model


def report(done):
    """Return the table of the files, and that of what was chosen."""
    rows, chosen = [], []
    for data, title in TITLES.items():
        runs = done.where(data=data, method="compress")
        if not runs:
            continue
        where = {"data": data, "method": "compress"}
        alone = done.values("accuracy", data=data, method="labels")
        own = done.where(data=data, method="teacher")
        found = own[0]["metrics"] if own else None
        rows.append(
            [
                title,
                f"{DATA[data]['bytes'] / 1000:.0f}",
                f"{100 * runs[0]['metrics']['teacher']:.2f}",
                mean_sd(done.values("accuracy", **where), 100),
                mean_sd(alone, 100) if alone else "",
                f"{max(done.values('bytes', **where)) / 1000:.1f}",
                mean_sd(done.values("minutes", **where), digits=0),
                f"{found['bytes'] / 1000:.0f} kB, {100 * found['accuracy']:.2f}" if found else "",
            ]
        )
        for one in sorted(runs, key=lambda each: each["seed"]):
            m = one["metrics"]
            details = [m["student"], f"{m['rate']:g}", f"{m['parameters']:,}", m["quantization"]]
            chosen.append([title, one["seed"], *details, f"{m['latency_us']:.0f}"])
    if not rows:
        return ""
    header = ["data", "limit kB", "teacher %", "kd.compress %", "labels alone %"]
    header += ["largest file kB", "minutes", "teacher itself"]
    details = ["data", "seed", "chosen student; loss", "rate", "parameters", "format", "µs"]
    return "\n\n".join([table(header, rows), table(details, chosen), measured_on(done)])
