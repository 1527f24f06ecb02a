"""The columns of a report's table, the same on the page and in Markdown."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_kd.report import formatting as words
from keras_kd.report.report import Entry, Report


@dataclass(frozen=True)
class Column:
    """A column: its key in the JSON, its heading, what it means, and how a cell reads."""

    key: str
    heading: str
    meaning: str
    cell: Callable[[Entry, Report], str]


COLUMNS = (
    Column(
        "accuracy",
        "accuracy",
        "share of right answers, with the half width of its 95 % interval",
        lambda entry, report: (
            f"{words.percent(entry.accuracy)} ± {50 * (entry.interval[1] - entry.interval[0]):.2f}"
        ),
    ),
    Column(
        "difference",
        "to teacher",
        "percentage points of accuracy more or less than the teacher",
        lambda entry, report: (
            ""
            if entry.name == report.teacher
            else words.points(entry.accuracy - report[report.teacher].accuracy)
        ),
    ),
    Column(
        "agreement",
        "agreement",
        "share of answers that are the teacher's",
        lambda entry, report: (
            "" if entry.name == report.teacher else words.percent(entry.agreement)
        ),
    ),
    Column(
        "divergence",
        "KL",
        "mean divergence of the probabilities from the teacher's, KL(teacher ‖ model), in nats",
        lambda entry, report: (
            "" if entry.name == report.teacher else words.decimal(entry.divergence)
        ),
    ),
    Column(
        "calibration_error",
        "ECE",
        "expected calibration error, 15 bins: how far confidence and accuracy lie apart",
        lambda entry, report: words.percent(entry.calibration_error),
    ),
    Column(
        "parameters",
        "parameters",
        "weights and biases in the file",
        lambda entry, report: words.count(entry.parameters),
    ),
    Column(
        "macs",
        "MACs",
        "multiply-accumulate operations for one sample",
        lambda entry, report: words.count(entry.macs),
    ),
    Column("size", "size", "of the file", lambda entry, report: words.size(entry.size)),
    Column(
        "gzip_size",
        "gzip'd",
        "size of the file packed with gzip, as it is downloaded",
        lambda entry, report: words.size(entry.gzip_size),
    ),
    Column(
        "latency_us",
        "latency",
        "median time of one sample, LiteRT on one thread of this machine",
        lambda entry, report: words.duration(entry.latency_us),
    ),
    Column(
        "p95_us",
        "p95",
        "what 95 of 100 runs stay below",
        lambda entry, report: words.duration(entry.p95_us),
    ),
)
