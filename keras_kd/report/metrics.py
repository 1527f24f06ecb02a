"""Metrics of one model on the data set: accuracy by class, calibration, agreement."""

import math
from collections.abc import Sequence

import numpy as np

from keras_kd.training.labels import UNLABELED

_BINS = 15


class Metrics:
    """Counts of one model, updated batch by batch.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._correct = np.zeros(classes, "int64")
        self._labeled = np.zeros(classes, "int64")
        self._bins = np.zeros((3, _BINS))  # Samples, their confidence, their correct predictions.
        self._predictions = self._equal = 0
        self._divergence: float | None = None

    def update(
        self,
        predictions: np.ndarray,
        labels: np.ndarray,
        log_probabilities: np.ndarray | None,
        teacher_predictions: np.ndarray,
        teacher_log_probabilities: np.ndarray | None,
    ) -> None:
        """Add a batch."""
        is_labeled = labels != UNLABELED
        is_correct = (predictions == labels) & is_labeled
        np.add.at(self._labeled, labels[is_labeled], 1)
        np.add.at(self._correct, labels[is_correct], 1)
        self._predictions += len(predictions)
        self._equal += int((predictions == teacher_predictions).sum())
        if log_probabilities is None:
            return
        confidence = np.exp(log_probabilities.max(-1))[is_labeled]
        bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
        rows = (np.ones_like(confidence), confidence, is_correct[is_labeled])
        for row, values in enumerate(rows):
            np.add.at(self._bins[row], bins, values)
        if teacher_log_probabilities is not None:
            difference = teacher_log_probabilities - log_probabilities
            divergence = float((np.exp(teacher_log_probabilities) * difference).sum())
            self._divergence = (self._divergence or 0.0) + divergence

    @property
    def labeled(self) -> int:
        """Number of predictions with a label."""
        return int(self._labeled.sum())

    @property
    def accuracy(self) -> float:
        """Share of correct predictions."""
        return float(self._correct.sum() / self.labeled)

    @property
    def per_class(self) -> tuple[float | None, ...]:
        """Accuracy of each class, `None` for a class without samples."""
        pairs = zip(self._correct.tolist(), self._labeled.tolist(), strict=True)
        return tuple(correct / total if total else None for correct, total in pairs)

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error (Guo et al. 2017), 15 bins of equal width, in [0, 1]."""
        count, confidence, correct = self._bins
        if not count.any():
            return None
        return float(np.abs(confidence - correct).sum() / count.sum())

    @property
    def agreement(self) -> float:
        """Share of predictions equal to the teacher's."""
        return self._equal / self._predictions

    @property
    def divergence(self) -> float | None:
        """Mean KL(teacher || model) of the probabilities, in nats."""
        return None if self._divergence is None else self._divergence / self._predictions


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share of `count` samples (Wilson 1927)."""
    z = 1.959964
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return center - half, center + half


def pareto_front(costs: Sequence[float | None], gains: Sequence[float]) -> list[int]:
    """Return the positions of the Pareto front, the cheapest first."""
    known = (i for i, cost in enumerate(costs) if cost is not None)
    front: list[int] = []
    for i in sorted(known, key=lambda i: (costs[i], -gains[i])):
        if not front or gains[i] > gains[front[-1]]:
            front.append(i)
    return front
