"""Models in every export format: which convert, and their accuracy, size and latency.

Small models of common kinds (see format_models.py), and MobileNetV2 on 2,000 images of CIFAR-10. No
file is rejected for its accuracy here. The files of a model take turns while they are timed, on one
thread, and two models are measured at the same time on two cores: ratios are more reliable than
times.
"""

import math
import statistics
import tempfile
from pathlib import Path

import keras

import keras_kd as kd
from benchmarks.export.format_models import MODELS
from benchmarks.runner.machine import processor
from benchmarks.runner.results import mean_sd, table
from keras_kd.export.benchmark import compare_latency
from keras_kd.litert.flatbuffer import flex_ops

FORMATS = kd.export.QUANTIZATIONS


def plan(done, seeds, quick):
    models = list(MODELS)[:1] if quick else MODELS
    return [({"model": model}, seed) for seed in range(seeds) for model in models]


def run(cell, seed, quick):
    keras.utils.set_random_seed(seed)
    _, load_data, train_model = MODELS[cell["model"]]
    train, test = load_data(quick)
    model = train_model(*train, quick, seed)
    metrics, files = {}, {}
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
                metrics[f"{kind}_reason"] = " ".join(str(error).split("\n")[0].split())
        for kind, latency in compare_latency(files, 5 if quick else 200).items():
            metrics |= _file_metrics(kind, files[kind], latency)
    verification = next(iter(files.values())).verification
    own = {
        "keras": verification.model_accuracy,
        "parameters": model.count_params(),
        "cpu": processor(),
    }
    return {**own, **metrics}


def _file_metrics(kind, file, latency):
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


def report(done):
    """Return tables of the accuracy drop, size and latency of each model in each format."""
    names = [name for name in MODELS if done.where(model=name)]
    if not names:
        return ""
    tables = [
        ("Accuracy drop in points (after the accuracy in Keras in %)", _accuracy, True),
        ("Size in kB", _size, False),
        ("Latency in µs", _latency, False),
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
    if not _converted(done, name, kind):
        return "no"
    return mean_sd(done.values(f"{kind}_drop", model=name))


def _size(done, name, kind):
    if not _converted(done, name, kind):
        return "no"
    return f"{_mean(done, f'{kind}_bytes', name) / 1000:.1f}"


def _latency(done, name, kind):
    return f"{_mean(done, f'{kind}_us', name):.1f}" if _converted(done, name, kind) else "no"


def _remarks(done, names):
    """Return flex ops, processors, ratios of latencies, and why models do not convert."""
    flex = sum(run["metrics"].get(f"{kind}_flex_ops", 0) for run in done.runs for kind in FORMATS)
    where = sorted({run["metrics"]["cpu"] for run in done.runs})
    sentences = [f"Flex ops in all these files: {flex}.", f"Timed on {'; '.join(where)}."]
    for name in [name for name in names if "mobilenet" in name]:
        times = [done.values(f"{kind}_us", model=name) for kind in ("float32", "int8")]
        ratio = mean_sd([plain / fast for plain, fast in zip(*times, strict=True)])
        sentences.append(f"The int8 file of {MODELS[name][0]} is {ratio} times as fast as float32.")
    lines = []
    for name in names:
        for kind in FORMATS:
            reasons = {r["metrics"].get(f"{kind}_reason") for r in done.where(model=name)} - {None}
            lines += [f"- {MODELS[name][0]}, {kind}: {reason}" for reason in sorted(reasons)]
    return [" ".join(sentences), *(["Not converted:", "\n".join(lines)] if lines else [])]


def _converted(done, name, kind):
    return all(f"{kind}_bytes" in run["metrics"] for run in done.where(model=name))


def _mean(done, metric, name):
    return statistics.mean(done.values(metric, model=name))
