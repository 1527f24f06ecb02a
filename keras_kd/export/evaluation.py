"""How good a .tflite file is on a data set, and how close to the Keras model it came from."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.export import signature
from keras_kd.export.interpreter import LiteRT, read
from keras_kd.export.tflite import TFLiteModel

_UNLABELED = -1


@dataclass(frozen=True)
class Score:
    """What one output of a file scored. Shares are in [0, 1].

    Attributes:
        accuracy: Share of right answers; `None` without labels.
        agreement: Share of answers (top-1) equal to the Keras model's; `None` without a model.
        max_difference: Largest absolute difference from the Keras model's output.
        mean_difference: Mean absolute difference from the Keras model's output.
    """

    accuracy: float | None = None
    agreement: float | None = None
    max_difference: float | None = None
    mean_difference: float | None = None


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
    def _only(self) -> Score:
        if len(self.outputs) > 1:
            raise ValueError(
                f"Expected one output. Received: an evaluation of {list(self.outputs)}. Read "
                "`evaluation.outputs[name]`."
            )
        return next(iter(self.outputs.values()))


def evaluate(
    tflite: TFLiteModel | str | Path,
    dataset: Iterable[Any],
    model: keras.Model | None = None,
    *,
    threshold: float = 0.5,
) -> Evaluation:
    """Runs a data set through a .tflite file with LiteRT.

    An output's last axis holds its classes: (batch, classes), or (batch, height, width, classes)
    for one answer in each place. Where that axis is 1, the answer is whether the value is above
    `threshold`.

    Args:
        tflite: The file: what `to_tflite` returned, or a path.
        dataset: Batches of `x`, `(x, y)` or `(x, y, weights)`: a `tf.data.Dataset` or another
            iterable. Labels are integers (without or with a last axis of 1; -1 where there is
            none) or one-hot. Of several outputs they are a dictionary by name, in which some may be
            missing, or a tuple in the Keras model's order. Weights are not used.
        model: The Keras model to compare with. Defaults to `None`.
        threshold: Where "yes" begins for an output of one unit: 0.5 for probabilities, 0 for
            logits. Defaults to `0.5`.

    Returns:
        The `Evaluation`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a .tflite model, the data set is empty, or its samples or
            labels do not fit the model.

    Example:
    >>> result = evaluate("model.tflite", test, model=student)
    >>> result.accuracy, result.agreement
    (0.973, 0.998)
    """
    runner, outputs = _open(tflite, model)
    tallies = {name: _Tally(threshold) for name in outputs or runner.outputs}
    samples = 0
    for batch in dataset:
        x, y = signature.unpack(batch)
        x = tree.map_structure(np.asarray, x)
        answers = runner.run(x)
        labels = {} if y is None else _labels(y, outputs, runner.outputs)
        expected = {} if model is None else _expected(model, x)
        for name, tally in tallies.items():
            tally.add(name, answers[name], labels.get(name), expected.get(name))
        samples += len(tree.flatten(x)[0])
    if not samples:
        raise ValueError(
            "Expected a data set of at least one sample. Received: no sample at all. Check that it "
            "is not empty or used up."
        )
    return Evaluation(samples, {name: tally.score() for name, tally in tallies.items()})


def _open(
    tflite: TFLiteModel | str | Path, model: keras.Model | None
) -> tuple[LiteRT, tuple[str, ...] | None]:
    """Returns the file, and the names of its outputs in the model's order if that is known."""
    inputs, outputs, path = None, None, tflite
    if isinstance(tflite, TFLiteModel):
        inputs, outputs, path = tflite.inputs, tflite.outputs, tflite.path
    elif model is not None:
        inputs = signature.of_inputs(model).names
    return LiteRT(read(path), f"'{path}'", inputs=inputs), outputs


def _expected(model: keras.Model, x: Any) -> dict[str, np.ndarray]:
    samples = len(tree.flatten(x)[0])
    # A model made under tf.distribute runs the batch on every replica and gives all the answers.
    outputs = tree.map_structure(lambda value: value[:samples], model.predict_on_batch(x))
    names = signature.of_outputs(model, outputs)
    return dict(zip(names, tree.flatten(outputs), strict=True))


def _labels(y: Any, ordered: tuple[str, ...] | None, outputs: tuple[str, ...]) -> dict[str, Any]:
    """Returns the labels by the names of their outputs."""
    if ordered is None and len(outputs) > 1 and not isinstance(y, dict):
        raise ValueError(
            f"Expected labels by name: the file does not tell the order of {list(outputs)}. "
            f"Received: labels of type {type(y).__name__}. Make them a dictionary, or give what "
            "`to_tflite` returned instead of a path."
        )
    labels = signature.by_name(tree.map_structure(np.asarray, y), ordered or outputs)
    unknown = sorted(set(labels) - set(outputs))
    if unknown:
        raise ValueError(
            f"Expected labels of the outputs {list(outputs)}. Received: labels of {unknown}. "
            "Rename or remove these."
        )
    return labels


@dataclass
class _Tally:
    """What has been counted so far for one output."""

    threshold: float
    right: int = 0
    labelled: int | None = None
    same: int = 0
    answers: int = 0
    differences: list[tuple[float, float, int]] = field(default_factory=list)

    def add(
        self, name: str, values: np.ndarray, labels: np.ndarray | None, expected: np.ndarray | None
    ) -> None:
        """Counts one batch."""
        answers = _answers(values, self.threshold)
        if labels is not None:
            wanted = _classes(name, labels, values.shape)
            known = wanted != _UNLABELED
            self.right += int((answers == wanted)[known].sum())
            self.labelled = (self.labelled or 0) + int(known.sum())
        if expected is not None:
            self.same += int((answers == _answers(expected, self.threshold)).sum())
            self.answers += answers.size
            distance = np.abs(values.astype(np.float64) - expected.astype(np.float64))
            self.differences.append((distance.max(), distance.sum(), distance.size))

    def score(self) -> Score:
        """Returns the shares and means of what was counted."""
        accuracy = self.right / self.labelled if self.labelled else None
        if not self.differences:
            return Score(accuracy)
        largest, total, size = zip(*self.differences, strict=True)
        return Score(
            accuracy, self.same / self.answers, float(max(largest)), float(sum(total) / sum(size))
        )


def _answers(values: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the class of each answer: where the last axis is largest, or yes (1) and no (0)."""
    if values.shape[-1] == 1:
        return (values[..., 0] > threshold).astype(np.int64)
    return values.argmax(-1)


def _classes(name: str, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns integer labels, one for each answer of an output of a shape.

    Raises:
        ValueError: If the labels are of another shape, or are no classes of the output.
    """
    one_hot = labels.shape == shape and shape[-1] > 1
    if one_hot:
        return labels.argmax(-1)
    if labels.shape == (*shape[:-1], 1):
        labels = labels[..., 0]
    count = max(shape[-1], 2)
    if labels.shape != shape[:-1]:
        raise ValueError(
            f"Output '{name}': expected labels of shape {shape[:-1]} or {shape}, as its values. "
            f"Received: shape {labels.shape}. Give one label, or one one-hot row, for each answer."
        )
    classes = labels.astype(np.int64)
    if (classes != labels).any() or (classes < _UNLABELED).any() or (classes >= count).any():
        raise ValueError(
            f"Output '{name}': expected integer labels from 0 to {count - 1}, or -1 for none. "
            f"Received: labels from {labels.min()} to {labels.max()}. Leave labels that are no "
            "classes out of the dictionary of labels."
        )
    return classes
