"""Numbers of a comparison: one entry per model, and the samples of a disagreement."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from keras_kd.files import ShortRepr
from keras_kd.report.changes import ClassChange, Confusion


@dataclass(frozen=True, repr=False)
class Entry(ShortRepr):
    """One model of a report. What could not be measured, or is not defined, is `None`.

    Attributes:
        name: Name in the report.
        kind: What was measured: a Keras model (its size and latency are those of its float32 file),
            or a file with its quantization.
        accuracy: Share of correct predictions: of classes, or of yes-or-no decisions.
        interval: 95 % confidence interval of the accuracy.
        per_class: Accuracy of each class, or of each independent label; empty for numbers.
        calibration_error: Expected calibration error, in [0, 1].
        calibration: Of each bin of the confidence that has samples: their number, their mean
            confidence, and their accuracy.
        agreement: Share of predictions equal to the teacher's.
        divergence: Mean KL(teacher || model), in nats.
        auc: Area under the ROC curve of a yes-or-no question.
        exact_match: Share of samples of which all independent labels are correct.
        mae: Mean absolute error of numbers.
        rmse: Root mean squared error of numbers.
        r2: Coefficient of determination R² of numbers.
        relative_difference: Root mean squared difference of numbers from the teacher's, divided by
            their standard deviation; see `kd.export.Score`.
        parameters: Number of weights and biases in the file.
        macs: Multiply-accumulate operations per sample.
        size: Size of the file in bytes.
        gzip_size: Size of the file in bytes after compression with gzip.
        latency_us: Median latency of one sample on one thread, in microseconds.
        p95_us: 95th percentile of the latency, in microseconds.
        noise: Relative uncertainty of the median latency.
        memory: Memory that LiteRT allocates beyond the file, in bytes.
        note: Why something could not be measured.
    """

    name: str
    kind: str
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    per_class: tuple[float | None, ...] = ()
    calibration_error: float | None = None
    calibration: tuple[tuple[int, float, float], ...] = ()
    agreement: float | None = None
    divergence: float | None = None
    auc: float | None = None
    exact_match: float | None = None
    mae: float | None = None
    rmse: float | None = None
    r2: float | None = None
    relative_difference: float | None = None
    parameters: int | None = None
    macs: int | None = None
    size: int | None = None
    gzip_size: int | None = None
    latency_us: float | None = None
    p95_us: float | None = None
    noise: float | None = None
    memory: int | None = None
    note: str | None = None


@dataclass(frozen=True, repr=False)
class Sample(ShortRepr):
    """A sample for which teacher and student predict different classes.

    Attributes:
        position: Position in the data set.
        label: Its class, `None` without a label.
        teacher: Class that the teacher predicts.
        student: Class that the student predicts.
        teacher_probability: Probability of the teacher's class.
        student_probability: Probability of the student's class.
        image: The sample as numbers in [0, 1], (height, width, 1 or 3); `None` if it is no image.
    """

    position: int
    label: int | None
    teacher: int
    student: int
    teacher_probability: float | None
    student_probability: float | None
    image: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Comparison:
    """The numbers of a report; `Report` describes the attributes."""

    title: str
    entries: tuple[Entry, ...]
    teacher: str
    student: str
    class_names: tuple[str, ...]
    samples: int
    disagreements: tuple[Sample, ...]
    disagreeing: int
    history: Mapping[str, Mapping[str, tuple[float, ...]]]
    about: Mapping[str, str]
    task: str = "classes"
    changes: tuple[ClassChange, ...] = ()
    confusions: tuple[Confusion, ...] = ()

    def __getitem__(self, name: str) -> Entry:
        """Return the entry of a model.

        Raises:
            KeyError: If there is no model of that name.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(f"There is no '{name}' among {[entry.name for entry in self.entries]}.")

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON-serializable values, without the images."""
        fields = asdict(self)
        for sample in fields["disagreements"]:
            del sample["image"]
        return fields
