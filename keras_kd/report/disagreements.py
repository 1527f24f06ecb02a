"""The samples for which teacher and student predict different classes."""

import heapq
from typing import Any

import numpy as np

from keras_kd.report.entries import Sample
from keras_kd.training.labels import UNLABELED

#: Predicted classes (batch,) and log-probabilities (batch, classes), if known.
Output = tuple[np.ndarray, np.ndarray | None]


class Disagreements:
    """Counts the disagreements of teacher and student and keeps the largest ones.

    Args:
        limit: Number of samples to keep.
    """

    def __init__(self, limit: int) -> None:
        self.count = 0
        self._limit = limit
        self._position = 0
        self._kept: list[tuple[float, int, Sample]] = []

    def update(self, x: Any, labels: np.ndarray, teacher: Output, student: Output) -> None:
        """Add a batch with one prediction per sample."""
        rows = np.flatnonzero(teacher[0] != student[0])
        self.count += len(rows)
        for row in map(int, rows):
            # Of equal distances the first sample is kept.
            key = (_distance(row, teacher, student), -(self._position + row))
            if len(self._kept) < self._limit:
                heapq.heappush(self._kept, (*key, self._sample(row, x, labels, teacher, student)))
            elif self._kept and key > self._kept[0][:2]:
                sample = self._sample(row, x, labels, teacher, student)
                heapq.heapreplace(self._kept, (*key, sample))
        self._position += len(labels)

    def samples(self) -> tuple[Sample, ...]:
        """Return the kept samples, largest differences first."""
        return tuple(entry[-1] for entry in sorted(self._kept, key=lambda e: e[:2], reverse=True))

    def _sample(
        self, row: int, x: Any, labels: np.ndarray, teacher: Output, student: Output
    ) -> Sample:
        label = int(labels[row])
        return Sample(
            position=self._position + row,
            label=None if label == UNLABELED else label,
            teacher=int(teacher[0][row]),
            student=int(student[0][row]),
            teacher_probability=_probability(row, teacher),
            student_probability=_probability(row, student),
            image=_image(x, row),
        )


def _distance(row: int, teacher: Output, student: Output) -> float:
    """Return the total variation distance of the probabilities; 1 if they are unknown."""
    if teacher[1] is None or student[1] is None:
        return 1.0
    return float(np.abs(np.exp(teacher[1][row]) - np.exp(student[1][row])).sum() / 2)


def _probability(row: int, output: Output) -> float | None:
    return None if output[1] is None else float(np.exp(output[1][row].max()))


def _image(x: Any, row: int) -> np.ndarray | None:
    """Return a sample as an image in [0, 1], `None` if it is no image."""
    if not isinstance(x, np.ndarray) or x.ndim not in (3, 4):
        return None
    image = x[row][..., None] if x.ndim == 3 else x[row]
    if image.shape[-1] not in (1, 3) or min(image.shape[:2]) < 4:
        return None
    image = image.astype("float32")
    low, high = image.min(), image.max()
    if low < 0 or high > 1:  # Normalized in another way: scale by its own range.
        image = image / 255 if low >= 0 and high <= 255 else (image - low) / max(high - low, 1e-9)
    return image
