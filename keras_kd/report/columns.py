"""Columns of the table of models, by task, the same on the page and in Markdown."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_kd.models.task import TASKS
from keras_kd.report import formatting
from keras_kd.report.entries import Comparison, Entry

_DECISIONS, _NUMBERS = ("classes", "binary", "labels"), ("values",)


@dataclass(frozen=True)
class Column:
    """A column: its key in the JSON, its heading, its definition, and the text of a cell.

    `tasks` are those that it is defined for.
    """

    key: str
    heading: str
    meaning: str
    cell: Callable[[Entry, Comparison], str]
    tasks: tuple[str, ...] = TASKS


def _accuracy(entry: Entry, comparison: Comparison) -> str:
    low, high = entry.interval
    return f"{formatting.percent(entry.accuracy)} ± {50 * (high - low):.2f}"


def _difference(entry: Entry, comparison: Comparison) -> str:
    return formatting.points(entry.accuracy - comparison[comparison.teacher].accuracy)


def _empty_for_teacher(
    cell: Callable[[Entry, Comparison], str],
) -> Callable[[Entry, Comparison], str]:
    """Leave a cell that compares a model with the teacher empty in the teacher's own row."""
    return lambda entry, comparison: (
        "" if entry.name == comparison.teacher else cell(entry, comparison)
    )


def columns_of(comparison: Comparison) -> tuple[Column, ...]:
    """Return the columns that are defined for the task of a comparison."""
    return tuple(column for column in COLUMNS if comparison.task in column.tasks)


def _field(key: str, text: Callable[[float | None], str]) -> Callable[[Entry, Comparison], str]:
    return lambda entry, comparison: text(getattr(entry, key))


#: The columns of all tasks.
COLUMNS = (
    Column(
        "accuracy",
        "accuracy",
        "share of correct predictions ± half the width of the 95 % confidence interval",
        _accuracy,
        _DECISIONS,
    ),
    Column(
        "difference",
        "vs. teacher",
        "difference from the accuracy of the teacher, in percentage points",
        _empty_for_teacher(_difference),
        _DECISIONS,
    ),
    Column(
        "exact_match",
        "exact match",
        "share of samples of which all labels are correct",
        _field("exact_match", formatting.percent),
        ("labels",),
    ),
    Column(
        "auc",
        "AUC",
        "area under the ROC curve",
        _field("auc", formatting.decimal),
        ("binary",),
    ),
    Column(
        "mae",
        "MAE",
        "mean absolute error",
        _field("mae", formatting.significant),
        _NUMBERS,
    ),
    Column(
        "rmse",
        "RMSE",
        "root mean squared error",
        _field("rmse", formatting.significant),
        _NUMBERS,
    ),
    Column(
        "r2",
        "R²",
        "coefficient of determination, the mean over the columns of the output that vary",
        _field("r2", formatting.decimal),
        _NUMBERS,
    ),
    Column(
        "relative_difference",
        "vs. teacher",
        "root mean squared difference from the outputs of the teacher, divided by their standard "
        "deviation; of the column where this is largest",
        _empty_for_teacher(_field("relative_difference", formatting.decimal)),
        _NUMBERS,
    ),
    Column(
        "agreement",
        "agreement",
        "share of predictions equal to the teacher's",
        _empty_for_teacher(_field("agreement", formatting.percent)),
        _DECISIONS,
    ),
    Column(
        "divergence",
        "KL",
        "mean divergence KL(teacher ‖ model) of the probabilities, in nats",
        _empty_for_teacher(_field("divergence", formatting.decimal)),
        _DECISIONS,
    ),
    Column(
        "calibration_error",
        "ECE",
        "expected calibration error, 15 bins: mean difference between confidence and accuracy",
        _field("calibration_error", formatting.percent),
        ("classes", "binary"),
    ),
    Column(
        "parameters",
        "parameters",
        "weights and biases in the file",
        _field("parameters", formatting.count),
    ),
    Column(
        "macs",
        "MACs",
        "multiply-accumulate operations per sample",
        _field("macs", formatting.count),
    ),
    Column("size", "size", "size of the file", _field("size", formatting.size)),
    Column(
        "gzip_size",
        "gzip",
        "size of the file compressed with gzip",
        _field("gzip_size", formatting.size),
    ),
    Column(
        "latency_us",
        "latency",
        "median latency of one sample, LiteRT on one thread of this machine",
        _field("latency_us", formatting.duration),
    ),
    Column(
        "p95_us", "p95", "95th percentile of the latency", _field("p95_us", formatting.duration)
    ),
)
