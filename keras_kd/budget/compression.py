"""The result of `kd.compress`, and the error for limits that nothing is within."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_kd.budget.files import CompressedFile
from keras_kd.budget.limits import Limits
from keras_kd.budget.schedule import Result
from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.files import text_table
from keras_kd.report import formatting


@dataclass(frozen=True)
class Compression(HtmlTables):
    """Result of `kd.compress`.

    Attributes:
        best: The chosen file, with its scores on data that the search did not use.
        chosen: The same file with its costs and scores.
        student: Its Keras model, as it was before a conversion.
        front: The files that no other one beats in size, latency and score, by size.
        files: All verified files.
        results: All trainings.
        teacher: Score and costs of the teacher.
        limits: The limits.
        met: Whether the chosen file is within all of them.
        score_name: What a score is: accuracy, or R² of numbers.
        test: What the final numbers are from.
        notes: What could not be done, and why.
        seconds: How long this call took.
        interrupted: Whether the search was stopped before its end.
        report: The report page.
    """

    best: TFLiteModel
    chosen: CompressedFile
    student: keras.Model
    front: Sequence[CompressedFile]
    files: Sequence[CompressedFile]
    results: Sequence[Result]
    teacher: dict[str, Any]
    limits: Limits
    met: bool
    score_name: str
    test: str
    notes: Sequence[str]
    seconds: float
    interrupted: bool
    report: Path

    @property
    def drop(self) -> float:
        """Points that the chosen file is below the teacher, on the test data."""
        return 100 * (self.teacher["test_score"] - self.chosen.test_score)

    @property
    def table(self) -> str:
        """The chosen file, the front and the teacher as text."""
        return text_table(*self._table())

    def html_tables(self) -> Mapping[str, Table]:
        """Return the table of the files."""
        return {self._caption(): self._table()}

    def _table(self) -> Table:
        show = formatting.decimal if self.score_name == "R²" else formatting.percent
        shown = [self.chosen, *(file for file in self.front if file != self.chosen)]
        rows = [
            [
                ("→ " if file == self.chosen else "  ") + file.path.name,
                formatting.size(file.size),
                formatting.duration(file.latency_us),
                formatting.count(file.macs),
                show(file.score),
                show(file.test_score),
            ]
            for file in shown
        ]
        teacher = self.teacher
        rows.append(
            [
                "  teacher, as float32 file",
                formatting.size(teacher["size"]),
                formatting.duration(teacher["latency_us"]),
                formatting.count(teacher["macs"]),
                show(teacher["score"]),
                show(teacher["test_score"]),
            ]
        )
        header = ["  file", "size", "latency", "MACs", "validation", "test"]
        return Table(header, rows, right=range(1, len(header)))

    def _caption(self) -> str:
        end = "within" if self.met else "NOT within"
        return f"Compression: {self.chosen.path} is {end} {self.limits}."

    def __repr__(self) -> str:
        return f"{self._caption()}\n{self.table}"

    def as_dict(self, folder: Path) -> dict[str, Any]:
        """Return the values as JSON types."""
        return {
            "best": str(self.chosen.path),
            "met": self.met,
            "limits": vars(self.limits),
            "score": self.score_name,
            "chosen": self.chosen.as_dict(folder),
            "drop": self.drop,
            "front": [file.as_dict(folder) for file in self.front],
            "files": [file.as_dict(folder) for file in self.files],
            "teacher": self.teacher,
            "trials": [
                {**r.slot.as_dict(), "score": _finite(r.score), **r.values} for r in self.results
            ],
            "test": self.test,
            "notes": list(self.notes),
            "seconds": round(self.seconds, 1),
            "interrupted": self.interrupted,
            "report": str(self.report),
        }


def _finite(score: float) -> float | None:
    """Return a score as JSON has it: `None` for what was not trained."""
    return score if math.isfinite(score) else None


class BudgetError(RuntimeError):
    """Limits that no file is within.

    Attributes:
        compression: The result with the nearest file as `best`.
    """

    def __init__(self, message: str, compression: Compression) -> None:
        super().__init__(message)
        self.compression = compression
