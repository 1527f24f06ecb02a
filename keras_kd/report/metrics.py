"""What is counted of a model's answers: accuracy by class, calibration, likeness to the teacher."""

import math
from collections.abc import Sequence

import numpy as np

from keras_kd.training.labels import UNLABELED

_BINS = 15


class Marks:
    """The counts of one model, batch by batch.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._right = np.zeros(classes, "int64")
        self._labelled = np.zeros(classes, "int64")
        self._bins = np.zeros((3, _BINS))  # Samples, their confidence, their right answers.
        self._answers = self._same = 0
        self._divergence: float | None = None

    def add(
        self,
        answers: np.ndarray,
        labels: np.ndarray,
        log_probabilities: np.ndarray | None,
        teacher_answers: np.ndarray,
        teacher_log_probabilities: np.ndarray | None,
    ) -> None:
        """Counts a batch.

        Args:
            answers: The class of each answer, (answers,).
            labels: The right classes, (answers,); -1 for none.
            log_probabilities: Of all classes, (answers, classes); `None` where only the answer is
                known.
            teacher_answers: The teacher's answers.
            teacher_log_probabilities: The teacher's log-probabilities, or `None`.
        """
        known = labels != UNLABELED
        right = (answers == labels) & known
        np.add.at(self._labelled, labels[known], 1)
        np.add.at(self._right, labels[right], 1)
        self._answers += len(answers)
        self._same += int((answers == teacher_answers).sum())
        if log_probabilities is None:
            return
        confidence = np.exp(log_probabilities.max(-1))[known]
        bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
        for row, values in enumerate((np.ones_like(confidence), confidence, right[known])):
            np.add.at(self._bins[row], bins, values)
        if teacher_log_probabilities is not None:
            difference = teacher_log_probabilities - log_probabilities
            found = float((np.exp(teacher_log_probabilities) * difference).sum())
            self._divergence = (self._divergence or 0.0) + found

    @property
    def labelled(self) -> int:
        """The number of answers that have a label."""
        return int(self._labelled.sum())

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self._right.sum() / self.labelled)

    @property
    def per_class(self) -> tuple[float | None, ...]:
        """Share of right answers of each class, `None` for one that does not occur."""
        pairs = zip(self._right.tolist(), self._labelled.tolist(), strict=True)
        return tuple(right / total if total else None for right, total in pairs)

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error (Guo et al. 2017), 15 bins of equal width, in [0, 1]."""
        count, confidence, right = self._bins
        if not count.any():
            return None
        return float(np.abs(confidence - right).sum() / count.sum())

    @property
    def agreement(self) -> float:
        """Share of the teacher's answers that are the same."""
        return self._same / self._answers

    @property
    def divergence(self) -> float | None:
        """Mean KL(teacher || model) of the probabilities, in nats."""
        if self._divergence is None:
            return None
        return self._divergence / self._answers


def interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927).

    Args:
        share: The share that was counted.
        count: Of how many.
    """
    z = 1.959964
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return centre - half, centre + half


def pareto(costs: Sequence[float | None], gains: Sequence[float]) -> list[int]:
    """The positions of what nothing beats: nothing is cheaper and as good, or better and as cheap.

    Args:
        costs: What each costs, `None` where that is not known.
        gains: What each is worth.

    Returns:
        The positions, the cheapest first.
    """
    order = sorted(
        (i for i, cost in enumerate(costs) if cost is not None), key=lambda i: (costs[i], -gains[i])
    )
    front: list[int] = []
    for i in order:
        if not front or gains[i] > gains[front[-1]]:
            front.append(i)
    return front
