"""Scores of a file on a data set: accuracy, and differences from the Keras model."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from keras_kd.training.labels import UNLABELED


@dataclass(frozen=True)
class Score:
    """Scores of one output of a file.

    Attributes:
        accuracy: Accuracy in [0, 1]; `None` without labels.
        agreement: Fraction of predicted classes equal to the Keras model's; `None` without a model.
        max_difference: Largest absolute difference from the Keras model's output; `None` without a
            model, or if the output is a class index.
        mean_difference: Mean absolute difference.
        relative_difference: Root mean squared difference, divided by the standard deviation of the
            model's output: 0 for equal outputs, 1 for a constant output at their mean.
        model_accuracy: Accuracy of the Keras model.
    """

    accuracy: float | None = None
    agreement: float | None = None
    max_difference: float | None = None
    mean_difference: float | None = None
    relative_difference: float | None = None
    model_accuracy: float | None = None

    @property
    def drop(self) -> float | None:
        """Percentage points of accuracy that the file loses compared with the Keras model."""
        if self.accuracy is None or self.model_accuracy is None:
            return None
        return 100 * (self.model_accuracy - self.accuracy)


@dataclass(frozen=True)
class Evaluation:
    """Scores of a file on a data set.

    If there is one output, the attributes of its `Score` are also attributes of the evaluation.

    Attributes:
        samples: Number of samples.
        outputs: The `Score` of each output, by name.
    """

    samples: int
    outputs: dict[str, Score]

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the only output."""
        return self._only.accuracy

    @property
    def agreement(self) -> float | None:
        """Agreement of the only output with the Keras model."""
        return self._only.agreement

    @property
    def max_difference(self) -> float | None:
        """Largest absolute difference of the only output from the Keras model's."""
        return self._only.max_difference

    @property
    def mean_difference(self) -> float | None:
        """Mean absolute difference of the only output from the Keras model's."""
        return self._only.mean_difference

    @property
    def relative_difference(self) -> float | None:
        """Relative difference of the only output from the Keras model's."""
        return self._only.relative_difference

    @property
    def model_accuracy(self) -> float | None:
        """Accuracy of the Keras model at the only output."""
        return self._only.model_accuracy

    @property
    def drop(self) -> float | None:
        """Percentage points of accuracy that the only output loses."""
        return self._only.drop

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        outputs = {
            name: {**asdict(score), "drop": score.drop} for name, score in self.outputs.items()
        }
        return {"samples": self.samples, "outputs": outputs}

    @property
    def _only(self) -> Score:
        if len(self.outputs) > 1:
            raise ValueError(
                f"Expected one output. Received: an evaluation of {list(self.outputs)}. Read "
                "`evaluation.outputs[name]`."
            )
        return next(iter(self.outputs.values()))


@dataclass
class ScoreCounter:
    """Accumulates the scores of one output over batches.

    Attributes:
        name: The output.
        threshold: Decision threshold of an output of one unit.
        class_indices: Whether the file returns class indices instead of the model's values.
        ignore_invalid_labels: Whether labels may belong to something else: then they count only if
            they are classes of this output, and the model predicts them better than the most
            frequent class does.
    """

    name: str
    threshold: float
    class_indices: bool = False
    ignore_invalid_labels: bool = False
    compared: int = 0
    equal: int = 0
    correct: int = 0
    model_correct: int = 0
    labels: Counter = field(default_factory=Counter)
    invalid_labels: bool = False
    max_difference: float = 0.0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(5))

    def add(
        self, values: np.ndarray, labels: np.ndarray | None, expected: np.ndarray | None
    ) -> None:
        """Add a batch: outputs of the file, labels, outputs of the model."""
        predicted = values if self.class_indices else predicted_classes(values, self.threshold)
        by_model = None if expected is None else predicted_classes(expected, self.threshold)
        if labels is not None and not self.invalid_labels:
            shape = values.shape if expected is None else expected.shape
            self._count_correct(labels, shape, predicted, by_model)
        if by_model is not None:
            self.equal += int((predicted == by_model).sum())
            self.compared += predicted.size
            if not self.class_indices:
                self._compare(values.astype("float64"), expected.astype("float64"))

    def score(self) -> Score:
        """Return the scores of all batches."""
        labeled = self._count_labeled()
        accuracy = self.correct / labeled if labeled else None
        if not self.compared:
            return Score(accuracy)
        model_accuracy = self.model_correct / labeled if labeled else None
        agreement = self.equal / self.compared
        if self.class_indices:
            return Score(accuracy, agreement, model_accuracy=model_accuracy)
        size, distance, squares, total, total_squares = self.sums
        spread = np.sqrt(max(total_squares / size - (total / size) ** 2, 0.0))
        error = np.sqrt(squares / size)
        # The relative difference from a constant output is infinite.
        relative = error / spread if spread else (np.inf if error else 0.0)
        return Score(
            accuracy,
            agreement,
            self.max_difference,
            float(distance / size),
            float(relative),
            model_accuracy,
        )

    def _count_correct(
        self,
        labels: np.ndarray,
        shape: tuple[int, ...],
        predicted: np.ndarray,
        by_model: np.ndarray | None,
    ) -> None:
        try:
            indices_only = self.class_indices and by_model is None
            classes = check_class_labels(self.name, labels, shape, indices_only)
        except ValueError:
            if not self.ignore_invalid_labels:
                raise
            self.invalid_labels = True
            return
        labeled = classes != UNLABELED
        self.correct += int((predicted == classes)[labeled].sum())
        self.labels.update(classes[labeled].tolist())
        if by_model is not None:
            self.model_correct += int((by_model == classes)[labeled].sum())

    def _count_labeled(self) -> int:
        """Return the number of predictions with a valid label."""
        most_frequent = max(self.labels.values(), default=0)
        if self.invalid_labels or (
            self.ignore_invalid_labels and self.model_correct <= most_frequent
        ):
            return 0
        return self.labels.total()

    def _compare(self, values: np.ndarray, expected: np.ndarray) -> None:
        distance = np.abs(values - expected)
        # `np.maximum` propagates NaN.
        self.max_difference = float(np.maximum(self.max_difference, distance.max()))
        self.sums += [
            distance.size,
            distance.sum(),
            (distance**2).sum(),
            expected.sum(),
            (expected**2).sum(),
        ]


def predicted_classes(values: np.ndarray, threshold: float) -> np.ndarray:
    """Return the predicted classes: the argmax of the last axis, or 0 and 1 for one unit."""
    if values.shape[-1] == 1:
        return (values[..., 0] > threshold).astype(np.int64)
    return values.argmax(-1)


def check_class_labels(
    name: str, labels: np.ndarray, shape: tuple[int, ...], indices_only: bool = False
) -> np.ndarray:
    """Return integer labels, one for each prediction of an output.

    Args:
        name: The output.
        labels: Integers, with or without a last axis of 1, or one-hot (zeros for unlabeled).
        shape: Shape of its values.
        indices_only: Whether its values are class indices, so that the number of classes is
            unknown.

    Raises:
        ValueError: If the labels have another shape, or are not classes of the output.
    """
    positions = shape if indices_only else shape[:-1]
    one_hot = labels.shape[:-1] == positions and labels.shape[-1] > 1
    if one_hot and (indices_only or labels.shape == shape):
        return np.where((labels > 0).any(-1), labels.argmax(-1), UNLABELED)
    if labels.shape == (*positions, 1):
        labels = labels[..., 0]
    count = np.inf if indices_only else max(shape[-1], 2)
    if labels.shape != positions:
        raise ValueError(
            f"Output '{name}': expected labels of shape {positions} or {shape}, as its values. "
            f"Received: shape {labels.shape}. Pass one label, or one one-hot row, per prediction."
        )
    classes = labels.astype(np.int64)
    if (classes != labels).any() or (classes < UNLABELED).any() or (classes >= count).any():
        raise ValueError(
            f"Output '{name}': expected integer labels from 0 to {count - 1}, or -1 for unlabeled. "
            f"Received: labels from {labels.min()} to {labels.max()}. Omit labels that are not "
            "classes from the dictionary of labels."
        )
    return classes
