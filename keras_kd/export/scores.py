"""What a file scored on a data set, beside the Keras model it came from."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from keras_kd.training.labels import UNLABELED


@dataclass(frozen=True)
class Score:
    """What one output of a file scored. Shares are in [0, 1].

    Attributes:
        accuracy: Share of right answers; `None` without labels.
        agreement: Share of answers (top-1) equal to the Keras model's; `None` without a model.
        max_difference: Largest absolute difference from the Keras model's output; `None` without a
            model, or where the output is a class number.
        mean_difference: Mean absolute difference from it.
        relative_difference: Root of the mean squared difference from it, over the standard
            deviation of the model's output: 0 is the same, 1 is as far off as a constant.
        model_accuracy: The Keras model's own share of right answers.
    """

    accuracy: float | None = None
    agreement: float | None = None
    max_difference: float | None = None
    mean_difference: float | None = None
    relative_difference: float | None = None
    model_accuracy: float | None = None

    @property
    def drop(self) -> float | None:
        """Percentage points of accuracy that the file lost against the Keras model."""
        if self.accuracy is None or self.model_accuracy is None:
            return None
        return 100 * (self.model_accuracy - self.accuracy)


@dataclass(frozen=True)
class Evaluation:
    """What a file scored on a data set.

    The attributes of `Score` can be read from the evaluation itself if there is one output.

    Attributes:
        samples: Number of samples.
        outputs: The score of each output, by its name.
    """

    samples: int
    outputs: dict[str, Score]

    @property
    def accuracy(self) -> float | None:
        """The accuracy of the only output."""
        return self._only.accuracy

    @property
    def agreement(self) -> float | None:
        """The agreement of the only output with the Keras model's."""
        return self._only.agreement

    @property
    def max_difference(self) -> float | None:
        """The largest absolute difference of the only output from the Keras model's."""
        return self._only.max_difference

    @property
    def mean_difference(self) -> float | None:
        """The mean absolute difference of the only output from the Keras model's."""
        return self._only.mean_difference

    @property
    def relative_difference(self) -> float | None:
        """The relative difference of the only output from the Keras model's."""
        return self._only.relative_difference

    @property
    def model_accuracy(self) -> float | None:
        """The Keras model's own accuracy at the only output."""
        return self._only.model_accuracy

    @property
    def drop(self) -> float | None:
        """Percentage points of accuracy lost at the only output."""
        return self._only.drop

    def as_dict(self) -> dict[str, Any]:
        """Returns the numbers as JSON takes them."""
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
class Tally:
    """What has been counted so far for one output.

    Attributes:
        name: The output.
        threshold: Where "yes" begins for an output of one unit.
        classes: Whether the file gives class numbers in place of what the model gives.
        doubtful: Whether the labels may be none of this output's: then they count only if they are
            classes of it, and the model is better at them than naming the most frequent one.
    """

    name: str
    threshold: float
    classes: bool = False
    doubtful: bool = False
    answers: int = 0
    same: int = 0
    right: int = 0
    model_right: int = 0
    labels: Counter = field(default_factory=Counter)
    unfit: bool = False
    largest: float = 0.0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(5))

    def add(
        self, values: np.ndarray, labels: np.ndarray | None, expected: np.ndarray | None
    ) -> None:
        """Counts one batch: what the file gives, the labels, what the model gives."""
        given = values if self.classes else answers_of(values, self.threshold)
        of_model = None if expected is None else answers_of(expected, self.threshold)
        if labels is not None and not self.unfit:
            shape = values.shape if expected is None else expected.shape
            self._count(labels, shape, given, of_model)
        if of_model is not None:
            self.same += int((given == of_model).sum())
            self.answers += given.size
            if not self.classes:
                self._compare(values.astype("float64"), expected.astype("float64"))

    def score(self) -> Score:
        """Returns the shares and means of what was counted."""
        labelled = self._labelled()
        accuracy = self.right / labelled if labelled else None
        if not self.answers:
            return Score(accuracy)
        of_model = self.model_right / labelled if labelled else None
        agreement = self.same / self.answers
        if self.classes:
            return Score(accuracy, agreement, model_accuracy=of_model)
        size, distance, squares, total, total_squares = self.sums
        spread = np.sqrt(max(total_squares / size - (total / size) ** 2, 0.0))
        error = np.sqrt(squares / size)
        # Of an output that never changes, any difference is infinitely large.
        relative = error / spread if spread else (np.inf if error else 0.0)
        return Score(
            accuracy, agreement, self.largest, float(distance / size), float(relative), of_model
        )

    def _count(
        self,
        labels: np.ndarray,
        shape: tuple[int, ...],
        given: np.ndarray,
        of_model: np.ndarray | None,
    ) -> None:
        try:
            wanted = class_indices_of(self.name, labels, shape, self.classes and of_model is None)
        except ValueError:
            if not self.doubtful:
                raise
            self.unfit = True
            return
        known = wanted != UNLABELED
        self.right += int((given == wanted)[known].sum())
        self.labels.update(wanted[known].tolist())
        if of_model is not None:
            self.model_right += int((of_model == wanted)[known].sum())

    def _labelled(self) -> int:
        """Returns the number of answers with a label that counts."""
        if self.unfit or (
            self.doubtful and self.model_right <= max(self.labels.values(), default=0)
        ):
            return 0
        return self.labels.total()

    def _compare(self, values: np.ndarray, expected: np.ndarray) -> None:
        distance = np.abs(values - expected)
        self.largest = float(np.maximum(self.largest, distance.max()))  # NaN stays NaN.
        self.sums += [
            distance.size,
            distance.sum(),
            (distance**2).sum(),
            expected.sum(),
            (expected**2).sum(),
        ]


def answers_of(values: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the class of each answer: where the last axis is largest, or yes (1) and no (0)."""
    if values.shape[-1] == 1:
        return (values[..., 0] > threshold).astype(np.int64)
    return values.argmax(-1)


def class_indices_of(
    name: str, labels: np.ndarray, shape: tuple[int, ...], only_classes: bool = False
) -> np.ndarray:
    """Returns integer labels, one for each answer of an output.

    Args:
        name: The output.
        labels: Integers, without or with a last axis of 1, or one-hot (a row of noughts is none).
        shape: The shape of its values.
        only_classes: Whether its values are class numbers, of which it is not known how many.

    Raises:
        ValueError: If the labels are of another shape, or are no classes of the output.
    """
    places = shape if only_classes else shape[:-1]
    wide = labels.shape[:-1] == places and labels.shape[-1] > 1
    if wide and (only_classes or labels.shape == shape):
        return np.where((labels > 0).any(-1), labels.argmax(-1), UNLABELED)
    if labels.shape == (*places, 1):
        labels = labels[..., 0]
    count = np.inf if only_classes else max(shape[-1], 2)
    if labels.shape != places:
        raise ValueError(
            f"Output '{name}': expected labels of shape {places} or {shape}, as its values. "
            f"Received: shape {labels.shape}. Give one label, or one one-hot row, for each answer."
        )
    classes = labels.astype(np.int64)
    if (classes != labels).any() or (classes < UNLABELED).any() or (classes >= count).any():
        raise ValueError(
            f"Output '{name}': expected integer labels from 0 to {count - 1}, or -1 for none. "
            f"Received: labels from {labels.min()} to {labels.max()}. Leave labels that are no "
            "classes out of the dictionary of labels."
        )
    return classes
