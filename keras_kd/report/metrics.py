"""Metrics of one model on the data set, by the task, compared with labels and teacher."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_kd.export.output_scores import Differences
from keras_kd.export.score_counters import ValueCounter, YesNoCounter, area_under_curve
from keras_kd.training.labels import UNLABELED

_BINS = 15


class ClassMetrics:
    """Counts of one model that predicts classes, updated batch by batch.

    Args:
        classes: Number of classes.
        binary: Whether they are the answers to a yes-or-no question, so that there is an AUC.
            Defaults to `False`.
    """

    def __init__(self, classes: int, binary: bool = False) -> None:
        self.task = "binary" if binary else "classes"
        self._ranked: list[np.ndarray] = []
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
        if self.task == "binary" and log_probabilities is not None:
            odds = log_probabilities[:, 1] - log_probabilities[:, 0]
            self._ranked.append(np.stack([labels, odds])[:, is_labeled])
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
    def auc(self) -> float | None:
        """Area under the ROC curve of a yes-or-no question."""
        return area_under_curve(*np.concatenate(self._ranked, 1)) if self._ranked else None

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
    def calibration(self) -> tuple[tuple[int, float, float], ...]:
        """Number, mean confidence and accuracy of the labeled samples of each bin that has some."""
        return tuple(
            (int(count), float(confidence / count), float(correct / count))
            for count, confidence, correct in self._bins.T
            if count
        )

    @property
    def agreement(self) -> float:
        """Share of predictions equal to the teacher's."""
        return self._equal / self._predictions

    @property
    def divergence(self) -> float | None:
        """Mean KL(teacher || model) of the probabilities, in nats."""
        return None if self._divergence is None else self._divergence / self._predictions

    def fields(self) -> dict[str, Any]:
        """Return the fields of an `Entry`."""
        return {
            "accuracy": self.accuracy,
            "interval": wilson_interval(self.accuracy, self.labeled),
            "per_class": self.per_class,
            "calibration_error": self.calibration_error,
            "calibration": self.calibration,
            "agreement": self.agreement,
            "divergence": self.divergence,
            "auc": self.auc,
        }


class LabelMetrics:
    """Counts of one model that predicts several independent labels, updated batch by batch.

    Args:
        labels: Number of labels.
    """

    task = "labels"

    def __init__(self, labels: int) -> None:
        self._all = YesNoCounter("output", self.task, probabilities=False)
        self._each = [YesNoCounter("output", "binary", probabilities=False) for _ in range(labels)]
        #: Number of labels that are known.
        self.labeled = 0

    def update(self, odds: np.ndarray, labels: np.ndarray, teacher: np.ndarray) -> None:
        """Add a batch: logits of the model, labels (NaN for none), logits of the teacher."""
        self.labeled += int((~np.isnan(labels)).sum())
        self._all.add(odds, labels, teacher)
        for i, counter in enumerate(self._each):
            counter.add(odds[..., i : i + 1], labels[..., i], None)

    @property
    def per_class(self) -> tuple[float | None, ...]:
        """Accuracy of each label, `None` for one that is never known."""
        return tuple(counter.scores()["accuracy"] for counter in self._each)

    def fields(self) -> dict[str, Any]:
        """Return the fields of an `Entry`."""
        scores = self._all.scores()
        return {
            "accuracy": scores["accuracy"],
            "interval": wilson_interval(scores["accuracy"], self.labeled),
            "per_class": self.per_class,
            "agreement": scores["agreement"],
            "divergence": scores["divergence"],
            "exact_match": scores["exact_match"],
        }


class ValueMetrics:
    """Errors of one model that predicts numbers, updated batch by batch."""

    task = "values"
    per_class = ()

    def __init__(self) -> None:
        self._errors = ValueCounter("output")
        self._differences = Differences()
        #: Number of labels that are known.
        self.labeled = 0

    def update(self, values: np.ndarray, labels: np.ndarray, teacher: np.ndarray) -> None:
        """Add a batch: outputs of the model, labels (NaN for none), outputs of the teacher."""
        self.labeled += int((~np.isnan(labels)).sum())
        self._errors.add(values, labels, None)
        self._differences.add(values, teacher)

    def fields(self) -> dict[str, Any]:
        """Return the fields of an `Entry`."""
        relative = self._differences.scores(probabilities=False, common=False)
        return {
            **self._errors.scores(),
            "relative_difference": relative["relative_difference"],
        }


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
