"""The samples on which a student and its teacher part, those furthest apart kept."""

import heapq
from typing import Any

import numpy as np

from keras_kd.report.report import Sample
from keras_kd.training.labels import UNLABELED


class Disagreements:
    """Collects the samples that teacher and student answer differently.

    Args:
        limit: How many to keep.
    """

    def __init__(self, limit: int) -> None:
        self.count = 0
        self._limit = limit
        self._seen = 0
        self._kept: list[tuple[float, int, Sample]] = []

    def add(
        self,
        x: Any,
        labels: np.ndarray,
        teacher: tuple[np.ndarray, np.ndarray | None],
        student: tuple[np.ndarray, np.ndarray | None],
    ) -> None:
        """Looks through a batch of one answer for each sample.

        Args:
            x: The samples.
            labels: Their classes, -1 for none.
            teacher: The teacher's answers and log-probabilities.
            student: The student's.
        """
        apart = np.flatnonzero(teacher[0] != student[0])
        self.count += len(apart)
        for row in apart:
            distance = _distance(row, teacher, student)
            entry = (distance, -(self._seen + int(row)))
            if len(self._kept) < self._limit:
                heapq.heappush(self._kept, (*entry, self._sample(row, x, labels, teacher, student)))
            elif self._kept and entry > self._kept[0][:2]:
                heapq.heapreplace(
                    self._kept, (*entry, self._sample(row, x, labels, teacher, student))
                )
        self._seen += len(labels)

    def samples(self) -> tuple[Sample, ...]:
        """Returns the samples that were kept, those furthest apart first."""
        return tuple(entry[-1] for entry in sorted(self._kept, key=lambda e: e[:2], reverse=True))

    def _sample(self, row: int, x: Any, labels: Any, teacher: Any, student: Any) -> Sample:
        label = int(labels[row])
        return Sample(
            position=self._seen + int(row),
            label=None if label == UNLABELED else label,
            teacher=int(teacher[0][row]),
            student=int(student[0][row]),
            teacher_probability=_probability(row, teacher),
            student_probability=_probability(row, student),
            image=_image(x, row),
        )


def _distance(row: int, teacher: Any, student: Any) -> float:
    """How far the two are apart: half the sum of the differences of their probabilities."""
    if teacher[1] is None or student[1] is None:
        return 1.0
    return float(np.abs(np.exp(teacher[1][row]) - np.exp(student[1][row])).sum() / 2)


def _probability(row: int, answer: Any) -> float | None:
    return None if answer[1] is None else float(np.exp(answer[1][row].max()))


def _image(x: Any, row: int) -> np.ndarray | None:
    """Returns a sample as an image in [0, 1], `None` if it is none."""
    if not isinstance(x, np.ndarray) or x.ndim not in (3, 4):
        return None
    image = x[row][..., None] if x.ndim == 3 else x[row]
    if image.shape[-1] not in (1, 3) or min(image.shape[:2]) < 4:
        return None
    image = image.astype("float32")
    low, high = image.min(), image.max()
    if low < 0 or high > 1:  # Normalised in another way: its own range stands for all.
        image = image / 255 if low >= 0 and high <= 255 else (image - low) / max(high - low, 1e-9)
    return image
