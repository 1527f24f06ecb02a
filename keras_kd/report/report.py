"""What a report says: numbers of each model, and where teacher and student part."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_kd.files import atomic_write, require_writable

_ENDINGS = (".html", ".md", ".json")


@dataclass(frozen=True)
class Entry:
    """One model of a report. What could not be measured is `None`.

    Attributes:
        name: What the report calls it.
        kind: What was measured: a Keras model (its size and time are those of its float32 file), or
            a file with its quantization.
        accuracy: Share of right answers.
        interval: The 95 % interval of the accuracy.
        per_class: Share of right answers of each class.
        calibration_error: Expected calibration error, in [0, 1].
        agreement: Share of answers that are the teacher's.
        divergence: Mean KL(teacher || model), in nats.
        parameters: Number of weights and biases in the file.
        macs: Multiply-accumulate operations for one sample.
        size: Bytes of the file.
        gzip_size: Bytes of the file packed with gzip, as an application is downloaded.
        latency_us: Median time of one sample on one thread, in microseconds.
        p95_us: What 95 of 100 runs stay below.
        noise: How sure the latency is, as a share of it.
        memory: Bytes that LiteRT took beyond the file.
        note: Why something could not be measured.
    """

    name: str
    kind: str
    accuracy: float
    interval: tuple[float, float]
    per_class: tuple[float | None, ...]
    calibration_error: float | None
    agreement: float
    divergence: float | None
    parameters: int | None = None
    macs: int | None = None
    size: int | None = None
    gzip_size: int | None = None
    latency_us: float | None = None
    p95_us: float | None = None
    noise: float | None = None
    memory: int | None = None
    note: str | None = None


@dataclass(frozen=True)
class Sample:
    """A sample to which teacher and student give different answers.

    Attributes:
        position: Its place in the data set.
        label: Its class, `None` without a label.
        teacher: The teacher's answer.
        student: The student's answer.
        teacher_probability: What the teacher gives its answer.
        student_probability: What the student gives its answer.
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
class Report:
    """A comparison of models.

    Attributes:
        title: What it is called.
        entries: The models, in the order in which they were given.
        teacher: The name of the one that the others are held against.
        student: The name of the one whose samples are shown.
        class_names: The names of the classes.
        samples: Number of samples.
        disagreements: Samples to which student and teacher give different answers, first those on
            which they are furthest apart.
        disagreeing: How many such samples there are in all.
        history: By model: the curves of its training.
        about: Machine, versions and settings.
    """

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

    def __getitem__(self, name: str) -> Entry:
        """Returns the model of a name.

        Raises:
            KeyError: If there is none.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(f"There is no '{name}' among {[entry.name for entry in self.entries]}.")

    def as_dict(self) -> dict[str, Any]:
        """Returns the numbers as JSON takes them, without the images."""
        fields = asdict(self)
        for sample in fields["disagreements"]:
            del sample["image"]
        return fields

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the report.

        Args:
            path: Ending in `.html` (one file that needs nothing else), `.md` or `.json`.

        Raises:
            ValueError: If it has another ending.
            OSError: If the folder does not exist or cannot be written.
        """
        from keras_kd.report.markdown import markdown
        from keras_kd.report.page import page

        path = Path(path)
        require_report_place(path)
        writers = {
            ".html": page,
            ".md": markdown,
            ".json": lambda report: json.dumps(report.as_dict(), indent=1) + "\n",
        }
        with atomic_write(path) as temporary:
            temporary.write_bytes(writers[path.suffix](self).encode())
        return path


def require_report_place(path: Path) -> None:
    """Refuses a path that no report can go to, before there is one.

    Raises:
        ValueError: If it has another ending than a report, or is a folder.
        NotADirectoryError: If its folder does not exist.
    """
    if path.suffix not in _ENDINGS:
        raise ValueError(
            f"Expected a path that ends in one of {list(_ENDINGS)}. Received: '{path}'. Name the "
            "file, for example 'report.html'."
        )
    require_writable(path, path.suffix)
