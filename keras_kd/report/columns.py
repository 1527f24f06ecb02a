"""Columns of the table of models, the same on the page and in Markdown."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_kd.report import formatting
from keras_kd.report.entries import Comparison, Entry


@dataclass(frozen=True)
class Column:
    """A column: its key in the JSON, its heading, its definition, and the text of a cell."""

    key: str
    heading: str
    meaning: str
    cell: Callable[[Entry, Comparison], str]


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


def _field(key: str, text: Callable[[float | None], str]) -> Callable[[Entry, Comparison], str]:
    return lambda entry, comparison: text(getattr(entry, key))


COLUMNS = (
    Column(
        "accuracy",
        "accuracy",
        "share of correct predictions ± half the width of the 95 % confidence interval",
        _accuracy,
    ),
    Column(
        "difference",
        "vs. teacher",
        "difference from the accuracy of the teacher, in percentage points",
        _empty_for_teacher(_difference),
    ),
    Column(
        "agreement",
        "agreement",
        "share of predictions equal to the teacher's",
        _empty_for_teacher(_field("agreement", formatting.percent)),
    ),
    Column(
        "divergence",
        "KL",
        "mean divergence KL(teacher ‖ model) of the probabilities, in nats",
        _empty_for_teacher(_field("divergence", formatting.decimal)),
    ),
    Column(
        "calibration_error",
        "ECE",
        "expected calibration error, 15 bins: mean difference between confidence and accuracy",
        _field("calibration_error", formatting.percent),
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
