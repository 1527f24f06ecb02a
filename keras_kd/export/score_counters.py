"""Scores of one output by its task, accumulated over batches."""

from collections import Counter
from typing import Any

import numpy as np

from keras_kd.training.label_arrays import read_labels


class ClassCounter:
    """Counts of mutually exclusive classes.

    Args:
        name: The output, for messages.
        probabilities: Whether the values are probabilities and not logits; `None` if unknown.
        indices: Whether a file returns class numbers instead of the values. Defaults to `False`.
        ignore_class: A label that is not counted. Defaults to `None`.
    """

    task = "classes"

    def __init__(
        self,
        name: str,
        probabilities: bool | None = None,
        indices: bool = False,
        ignore_class: int | None = None,
    ) -> None:
        self._name = name
        self._probabilities = probabilities
        self._indices = indices
        self._ignore_class = ignore_class
        self._labels: Counter[int] = Counter()
        self._correct = self._model_correct = self._equal = self._compared = 0
        self._divergence = 0.0

    def add(
        self, values: np.ndarray, labels: np.ndarray | None, expected: np.ndarray | None
    ) -> None:
        """Add a batch: outputs of the file, labels, outputs of the model."""
        predicted = values if self._indices else values.argmax(-1)
        by_model = None if expected is None else expected.argmax(-1)
        if labels is not None:
            known_classes = expected is not None or not self._indices
            shape = values.shape if expected is None else expected.shape
            classes, known = read_labels(
                self._name, self.task, labels, shape, self._ignore_class, known_classes
            )
            self._labels.update(classes[known].tolist())
            self._correct += int((predicted == classes)[known].sum())
            if by_model is not None:
                self._model_correct += int((by_model == classes)[known].sum())
        if by_model is not None:
            self._equal += int((predicted == by_model).sum())
            self._compared += predicted.size
            if not self._indices:
                self._add_divergence(values, expected)

    def scores(self) -> dict[str, Any]:
        """Return the fields of a `Score`."""
        labeled, compared = self._labels.total(), self._compared
        return {
            "accuracy": _share(self._correct, labeled),
            "model_accuracy": _share(self._model_correct, labeled if compared else 0),
            "agreement": _share(self._equal, compared),
            "divergence": None if self._indices else _share(self._divergence, compared),
        }

    @property
    def is_better_than_constant(self) -> bool:
        """Whether the model has more correct predictions than its most frequent label."""
        return self._model_correct > max(self._labels.values(), default=0)

    def _add_divergence(self, values: np.ndarray, expected: np.ndarray) -> None:
        if self._probabilities is None:
            self._probabilities = are_distributions(expected)
        model, file = (log_probabilities(z, self._probabilities) for z in (expected, values))
        self._divergence += float((np.exp(model) * (model - file)).sum())


class YesNoCounter:
    """Counts of yes-or-no outputs: one unit, or several independent labels.

    Args:
        name: The output, for messages.
        task: `"binary"` or `"labels"`.
        probabilities: Whether the values are probabilities and not logits; `None` if unknown.
        threshold: Smallest value that is not yet a yes. Defaults to `None`: 0.5 for probabilities,
            0 for logits.
        ignore_class: A label that is not counted. Defaults to `None`.
    """

    def __init__(
        self,
        name: str,
        task: str,
        probabilities: bool | None = None,
        threshold: float | None = None,
        ignore_class: int | None = None,
    ) -> None:
        self.task = task
        self._name = name
        self._probabilities = probabilities
        self._threshold = threshold
        self._ignore_class = ignore_class
        self._labels: Counter[float] = Counter()
        self._correct = self._model_correct = self._equal = self._compared = 0
        self._rows = self._exact = 0
        self._divergence = 0.0
        self._ranked: list[np.ndarray] = []

    def add(
        self, values: np.ndarray, labels: np.ndarray | None, expected: np.ndarray | None
    ) -> None:
        """Add a batch: outputs of the file, labels, outputs of the model."""
        threshold = self._find_threshold(values if expected is None else expected)
        decided = self._decide(values, threshold)
        by_model = None if expected is None else self._decide(expected, threshold)
        if labels is not None:
            self._add_labels(values, labels, decided, by_model)
        if by_model is not None:
            self._equal += int((decided == by_model).sum())
            self._compared += decided.size
            if self._probabilities is not None:
                pairs = (log_odds(z, self._probabilities) for z in (expected, values))
                self._divergence += float(_yes_no_divergence(*pairs).sum())

    def scores(self) -> dict[str, Any]:
        """Return the fields of a `Score`."""
        labeled, compared = self._labels.total(), self._compared
        exact = _share(self._exact, self._rows) if self.task == "labels" else None
        return {
            "accuracy": _share(self._correct, labeled),
            "model_accuracy": _share(self._model_correct, labeled if compared else 0),
            "agreement": _share(self._equal, compared),
            "divergence": None
            if self._probabilities is None
            else _share(self._divergence, compared),
            "auc": area_under_curve(*np.concatenate(self._ranked, 1)) if self._ranked else None,
            "exact_match": exact,
        }

    @property
    def is_better_than_constant(self) -> bool:
        """Whether the model has more correct predictions than its most frequent label."""
        return self._model_correct > max(self._labels.values(), default=0)

    def _add_labels(
        self,
        values: np.ndarray,
        labels: np.ndarray,
        decided: np.ndarray,
        by_model: np.ndarray | None,
    ) -> None:
        targets, known = read_labels(
            self._name, self.task, labels, values.shape, self._ignore_class
        )
        right = decided == targets
        self._labels.update(targets[known].tolist())
        self._correct += int(right[known].sum())
        if by_model is not None:
            self._model_correct += int((by_model == targets)[known].sum())
        if self.task == "labels":
            counted = known.any(-1)
            self._exact += int((right | ~known).all(-1)[counted].sum())
            self._rows += int(counted.sum())
        elif values.ndim == 2:  # Of a map, the ranks would take more memory than the map.
            self._ranked.append(np.stack([targets[known], values[..., 0][known]]))

    def _decide(self, values: np.ndarray, threshold: float) -> np.ndarray:
        """Return the decisions, (batch, ...) of one unit and (batch, ..., labels) of several."""
        decided = values > threshold
        return decided[..., 0] if self.task == "binary" else decided

    def _find_threshold(self, values: np.ndarray) -> float:
        """Return the threshold; values outside [0, 1] prove that they are logits.

        Raises:
            ValueError: If it is not known whether the values are probabilities.
        """
        if self._threshold is not None:
            return self._threshold
        if self._probabilities is None and (values.min() < 0 or values.max() > 1):
            self._probabilities = False
        if self._probabilities is None:
            raise ValueError(
                f"Output '{self._name}' may be logits or probabilities, and it is not known which: "
                "the activation of its last layer is not visible. Declare outputs='logits' or "
                "outputs='probabilities'."
            )
        return 0.5 if self._probabilities else 0.0


class ValueCounter:
    """Errors of numbers (regression).

    Args:
        name: The output, for messages.
    """

    task = "values"

    def __init__(self, name: str) -> None:
        self._name = name
        #: By column: known labels, absolute and squared errors, centered labels, their squares.
        self._sums: np.ndarray | float = 0.0
        self._shift: np.ndarray | None = None

    def add(
        self, values: np.ndarray, labels: np.ndarray | None, expected: np.ndarray | None
    ) -> None:
        """Add a batch: outputs of the file, labels, outputs of the model."""
        if labels is None:
            return
        targets, known = read_labels(self._name, self.task, labels, values.shape)
        targets, known = (part.reshape(-1, values.shape[-1]) for part in (targets, known))
        errors = np.where(known, values.reshape(targets.shape) - targets, 0.0)
        if self._shift is None:  # Near the mean, so that the variance does not cancel.
            self._shift = np.where(known, targets, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        centered = np.where(known, targets - self._shift, 0.0)
        parts = (known, np.abs(errors), errors**2, centered, centered**2)
        self._sums = self._sums + np.stack([part.sum(0) for part in parts])

    def scores(self) -> dict[str, Any]:
        """Return the fields of a `Score`."""
        if np.ndim(self._sums) == 0 or not self._sums[0].any():
            return {}
        count, absolute, squares, total, total_squares = self._sums
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = total_squares - total**2 / count
            varies = spread > 1e-12 * total_squares
            explained = (1 - squares / spread)[varies]
        return {
            "mae": float(absolute.sum() / count.sum()),
            "rmse": float(np.sqrt(squares.sum() / count.sum())),
            "r2": float(explained.mean()) if explained.size else None,
        }


def area_under_curve(labels: np.ndarray, values: np.ndarray) -> float | None:
    """Return the exact area under the ROC curve, `None` if only one label occurs.

    Args:
        labels: 0 and 1, (samples,).
        values: Larger for a 1, (samples,); equal ones count half.
    """
    no, yes = np.sort(values[labels == 0]), values[labels == 1]
    if not no.size or not yes.size:
        return None
    below = np.searchsorted(no, yes, "left").sum() + np.searchsorted(no, yes, "right").sum()
    return float(below / (2 * no.size * yes.size))


def are_distributions(values: np.ndarray) -> bool:
    """Return whether every row is a probability distribution, as rows of logits never all are."""
    return bool((values >= 0).all() and np.allclose(values.sum(-1), 1, atol=1e-3))


def log_probabilities(values: np.ndarray, probabilities: bool) -> np.ndarray:
    """Return the log-probabilities of classes, (batch, ..., classes), in float64."""
    values = values.astype("float64")
    if probabilities:
        # Rounding to 8 bits turns small probabilities into zero.
        values = np.maximum(values, 1e-7)
        return np.log(values / values.sum(-1, keepdims=True))
    shifted = values - values.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def log_odds(values: np.ndarray, probabilities: bool) -> np.ndarray:
    """Return the logits of yes-or-no outputs, in float64."""
    values = values.astype("float64")
    if not probabilities:
        return values
    values = np.clip(values, 1e-7, 1 - 1e-7)
    return np.log(values) - np.log1p(-values)


def _yes_no_divergence(teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """Return KL(teacher || student) of each yes-or-no output, from the logits."""
    yes = np.exp(-np.logaddexp(0, -teacher))
    difference = np.logaddexp(0, -student) - np.logaddexp(0, -teacher)
    opposite = np.logaddexp(0, student) - np.logaddexp(0, teacher)
    return yes * difference + (1 - yes) * opposite


def _share(part: float, total: int) -> float | None:
    return part / total if total else None
