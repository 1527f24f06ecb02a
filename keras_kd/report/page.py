"""A report as one self-contained HTML page: no network, no script, light and dark."""

import base64
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import tensorflow as tf

from keras_kd.display.templates import make_environment
from keras_kd.report import charts, formatting
from keras_kd.report.charts import Bar, Curve, Point
from keras_kd.report.class_tables import (
    class_table,
    confusion_matrix,
    frequent_confusions,
)
from keras_kd.report.columns import columns_of
from keras_kd.report.entries import Comparison, Entry
from keras_kd.report.outcome import costs, describe_cost, describe_outcome

_MAX_CLASSES = 20  # In the bar chart.
_MAX_PIXELS = 256  # Of the sides of an image.


def render_page(comparison: Comparison) -> str:
    """Return a comparison as an HTML page."""
    environment = make_environment("report")
    environment.policies["json.dumps_kwargs"] = {}  # Keys in their own order.
    environment.filters["percent"] = formatting.percent
    environment.filters["png"] = _png_url
    noises = [entry.noise for entry in comparison.entries if entry.noise is not None]
    return environment.get_template("page.html.jinja").render(
        style=resources.files("keras_kd.report").joinpath("style.css").read_text(),
        comparison=comparison,
        cards=_cards(comparison),
        columns=columns_of(comparison),
        best=_best_models(comparison.entries),
        color_class=charts.color_class,
        cost_charts=_cost_charts(comparison),
        learning_curves=_learning_curves(comparison),
        outcome=describe_outcome(comparison),
        calibration_chart=_calibration_chart(comparison),
        class_table=class_table(comparison) if comparison.class_names else [],
        matrix=confusion_matrix(comparison),
        confusions=frequent_confusions(comparison),
        class_chart=_class_chart(comparison) if comparison.class_names else "",
        class_word="label" if comparison.task == "labels" else "class",
        quality="Error" if comparison.task == "values" else "Accuracy",
        has_disagreements=comparison.task in ("classes", "binary"),
        max_classes=_MAX_CLASSES,
        noise=max(noises, default=None),
    )


def _cards(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Return the headline numbers: each with its name and an explanation."""
    teacher, student = comparison[comparison.teacher], comparison[comparison.student]
    cards = [
        _error_card(teacher, student)
        if comparison.task == "values"
        else _accuracy_card(teacher, student)
    ]
    for theirs, ours, word in costs(teacher, student):
        text = formatting.size if word == "smaller" else formatting.duration
        relation = f"than the teacher ({text(theirs)})"
        cards.append((describe_cost(theirs, ours, word), relation, text(ours)))
    return cards


def _accuracy_card(teacher: Entry, student: Entry) -> tuple[str, str, str]:
    loss = teacher.accuracy - student.accuracy
    points = (
        f"{abs(100 * loss):.2f} points {'below' if loss > 0 else 'above'}" if loss else "same as"
    )
    relation = f"{points} the teacher ({formatting.percent(teacher.accuracy)})"
    return formatting.percent(student.accuracy), "accuracy", relation


def _error_card(teacher: Entry, student: Entry) -> tuple[str, str, str]:
    relation = f"root mean squared error; teacher {formatting.significant(teacher.rmse)}"
    return formatting.significant(student.rmse), "RMSE", relation


def _best_models(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the name of the best model of a column, for columns that have one."""
    best = {}
    higher, lower = ("accuracy", "exact_match", "auc", "r2"), ("mae", "rmse")
    costs = ("size", "gzip_size", "latency_us")
    for key, sign in [(k, -1) for k in higher] + [(k, 1) for k in (*lower, *costs)]:
        values = [(sign * getattr(e, key), e.name) for e in entries if getattr(e, key) is not None]
        if values:
            best[key] = min(values)[1]
    return best


def _cost_charts(comparison: Comparison) -> list[tuple[str, str]]:
    """Return titles and charts of accuracy, or RMSE, against size and against latency."""
    figures, numbers = [], comparison.task == "values"
    name, axis = ("RMSE", "root mean squared error") if numbers else ("Accuracy", "accuracy, %")
    for key, unit, title, label in (
        ("size", 1e3, f"{name} against size", "size of the file, kB (logarithmic)"),
        ("latency_us", 1, f"{name} against latency", "median latency, µs (logarithmic)"),
    ):
        points = [
            Point(
                i,
                entry.name,
                getattr(entry, key) / unit,
                entry.rmse if numbers else 100 * entry.accuracy,
            )
            for i, entry in enumerate(comparison.entries)
            if getattr(entry, key)
        ]
        if len(points) > 1:
            figures.append((title, charts.scatter(points, label, axis, lower_is_better=numbers)))
    return figures


def _learning_curves(comparison: Comparison) -> list[tuple[str, str]]:
    """Return titles and charts of the accuracies and of the losses over epochs."""
    numbers = {entry.name: i for i, entry in enumerate(comparison.entries)}
    figures = []
    for kind, title, scale, label in (
        ("acc", "Accuracy", 100, "accuracy, %"),
        ("loss", "Loss", 1, "loss"),
    ):
        curves = []
        for name, history in comparison.history.items():
            for key, is_training in _select_curves(history, kind):
                values = [scale * value for value in history[key]]
                curves.append(Curve(numbers[name], name, values, is_training))
        if curves:
            figures.append((title, charts.lines(curves, label)))
    return figures


def _select_curves(history: Any, kind: str) -> list[tuple[str, bool]]:
    """Return the keys of a history to draw, and whether each is to be drawn as training data."""
    keys = [key for key in history if kind in key and not key.startswith("val_")]
    key = "loss" if kind == "loss" else next(iter(keys), "accuracy")
    validation = f"val_{key}"
    if validation not in history:
        return [(key, False)] if key in history else []
    # The training loss of a distiller contains other terms than the loss on the labels.
    has_training = kind != "loss" and key in history
    return [(key, True)] * has_training + [(validation, False)]


def _calibration_chart(comparison: Comparison) -> str:
    """Return the calibration plot, nothing if no model has probabilities and labels."""
    curves = [
        Curve(i, entry.name, entry.calibration)
        for i, entry in enumerate(comparison.entries)
        if entry.calibration
    ]
    return charts.calibration(curves) if curves else ""


def _class_chart(comparison: Comparison) -> str:
    """Return the chart of the error rates of the classes with the most errors."""

    def error_rate(entry: Entry, i: int) -> float | None:
        accuracy = entry.per_class[i]
        return None if accuracy is None else 100 * (1 - accuracy)

    worst = [
        max(error_rate(entry, i) or 0.0 for entry in comparison.entries)
        for i in range(len(comparison.class_names))
    ]
    shown = sorted(sorted(range(len(worst)), key=lambda i: -worst[i])[:_MAX_CLASSES])
    groups = [
        (
            comparison.class_names[i],
            [Bar(n, e.name, error_rate(e, i)) for n, e in enumerate(comparison.entries)],
        )
        for i in shown
    ]
    kind = "label" if comparison.task == "labels" else "class"
    return charts.bars(groups, f"error rate of the {kind}, %")


def _png_url(image: np.ndarray) -> str:
    """Return an image as a data URL; large images are halved until they are small."""
    while max(image.shape[:2]) > _MAX_PIXELS:
        image = image[::2, ::2]
    pixels = np.uint8(np.round(np.clip(image, 0, 1) * 255))
    png = tf.io.encode_png(pixels).numpy()
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
