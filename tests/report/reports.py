"""A report made of given numbers."""

import numpy as np

from keras_kd.report import Entry, Report, Sample
from keras_kd.report.changes import ClassChange, Confusion


def entry(name, accuracy, **kwargs):
    defaults = {
        "kind": "int8 file",
        "interval": (accuracy - 0.01, accuracy + 0.01),
        "per_class": (accuracy, 1 - accuracy, None),
        "calibration_error": 0.0123,
        "calibration": ((100, 0.55, 0.5), (900, 0.97, 0.99)),
        "agreement": 0.9,
        "divergence": 0.05678,
        "parameters": 25_000,
        "macs": 1_580_864,
        "size": 27_248,
        "gzip_size": 21_000,
        "latency_us": 18.31,
        "p95_us": 1_234.5,
        "noise": 0.03,
        "memory": 100_000,
    }
    return Entry(name, accuracy=accuracy, **{**defaults, **kwargs})


def report(**changes):
    """A report with names that are HTML, missing values, and images of several kinds."""
    rng = np.random.default_rng(0)
    images = [(0, rng.random((28, 28, 1))), (None, rng.random((600, 400, 3))), (2, None)]
    samples = (Sample(i, label, 0, 1, 0.6, 0.7, image) for i, (label, image) in enumerate(images))
    entries = (
        entry("teacher", 0.95, size=9_800_000, latency_us=612.0),
        entry('<b>bold</b> & "quoted"', 0.9432, calibration_error=None, divergence=None),
        entry("no file", 0.5, size=None, gzip_size=None, latency_us=None, note="Sinh <x>"),
        entry("int8", 0.9467),
    )
    fields = {
        "title": "A title with <tags> </script>",
        "entries": entries,
        "teacher": "teacher",
        "student": "int8",
        "class_names": ("cat", "a class of a very long name indeed", "</td>"),
        "samples": 1000,
        "disagreements": tuple(samples),
        "disagreeing": 57,
        "history": {
            "teacher": {"accuracy": (0.1, 0.9), "val_accuracy": (0.2, 0.8), "loss": (2.0, 0.5)},
            "int8": {"loss": (3.0, float("nan"), 1.0), "val_loss": (2.5, 1.5, 1.25)},
        },
        "about": {"machine": "a | toaster"},
        "changes": (ClassChange(600, 3, 5), ClassChange(400, 0, 52), ClassChange(0, 0, 0)),
        "confusions": (Confusion(0, 0, 590, 588), Confusion(0, 1, 10, 12), Confusion(1, 0, 4, 9)),
    }
    return Report(**{**fields, **changes})


def numbers():
    """A report of a regression."""
    measured = {"mae": 123456.0, "r2": 0.98765, "relative_difference": 0.1}
    names = {"teacher": 0.02, "int8": 0.034567}
    costs = {"parameters": 25_000, "size": 27_248, "latency_us": 18.3}
    entries = (
        Entry(name, "int8 file", rmse=rmse, **measured, **costs) for name, rmse in names.items()
    )
    changes = {"disagreements": (), "disagreeing": 0, "class_names": (), "history": {}}
    changes |= {"changes": (), "confusions": ()}
    return report(entries=tuple(entries), task="values", **changes)
