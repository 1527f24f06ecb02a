"""Pseudo-labels: label a data set with the confident predictions of teachers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_kd.files import text_fields
from keras_kd.models.taps import Tap
from keras_kd.models.task import require_task
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.teacher import as_teachers
from keras_kd.teachers.teacher_tasks import as_output, common_output, single_evidence
from keras_kd.teachers.weighting import Weighting
from keras_kd.training import backend
from keras_kd.training.batches import as_batches, unpack_x_y
from keras_kd.training.labels import UNLABELED

_OUTPUT = Tap(None, logits=True)


@dataclass(frozen=True)
class PseudoLabels:
    """Result of `pseudo_label`.

    Attributes:
        dataset: Batches (x, label) of the kept samples, in their order.
        kept: Number of kept samples.
        total: Number of samples.
        classes: Number of labels of each class, for samples or pixels; of several independent
            labels, the number of samples that have each.
    """

    dataset: tf.data.Dataset
    kept: int
    total: int
    classes: tuple[int, ...]

    def __repr__(self) -> str:
        fields = {"kept": self.kept, "total": self.total, "classes": self.classes}
        return text_fields("PseudoLabels", fields)

    def __str__(self) -> str:
        share = 100 * self.kept / self.total
        return (
            f"{self.kept:,} of {self.total:,} samples kept ({share:.1f} %); "
            f"labels by class: {', '.join(f'{count:,}' for count in self.classes)}"
        )


def pseudo_label(
    teachers: Any,
    dataset: Any,
    threshold: float = 0.95,
    *,
    weighting: Weighting | None = None,
) -> PseudoLabels:
    """Label samples with the teachers' predictions if their probability is high enough.

    `Distiller` needs no labels and learns from the teachers' full distribution; use this function
    if you need labels. A sample is kept if the probability of its most likely class is at least
    `threshold`. The probabilities of several teachers are averaged with the weights. In a map,
    pixels below the threshold are `kd.UNLABELED`, and maps without any pixel above it are dropped.
    Of several independent labels, those below the threshold are NaN. Each teacher runs once over
    the data. The kept samples stay in memory; save them with `result.dataset.save(path)`.

    The task of the outputs follows from `outputs=` of `kd.Teacher`, the loss that a teacher is
    compiled with, and its final softmax or sigmoid.

    Args:
        teachers: A trained `keras.Model`, a `kd.Teacher`, or a list of either, with one output of
            the same task and size.
        dataset: A `tf.data.Dataset` or another iterable of batches of x, or of tuples that begin
            with x, whose labels are ignored; or arrays.
        threshold: Minimum probability, from 0 to 1. Defaults to 0.95.
        weighting: Weighting of several teachers, one of `kd.weighting`. Defaults to
            `kd.weighting.Uniform()`.

    Returns:
        A `PseudoLabels` with the data set, in batches of the size of the first batch of `dataset`,
        and the counts. Labels are integers, 0 or 1 for a single output; several independent labels
        are float32 rows of 0, 1 and NaN.

    Raises:
        TypeError: If `dataset` has another form.
        ValueError: If `threshold` is out of range, a teacher has `classes`, the outputs are numbers
            (regression) or of different tasks, or no sample reaches the threshold.

    Example:
        >>> result = kd.pseudo_label(teacher, unlabeled, threshold=0.9)
        >>> print(result)
        >>> student.fit(labeled.concatenate(result.dataset))
    """
    teachers = as_teachers(teachers)
    _check(teachers, threshold)
    task = _find_task(teachers)
    ensemble = Ensemble(teachers, [_OUTPUT], weighting)
    ensemble.check_task(_OUTPUT, task)
    predict = _make_predict(ensemble, task)
    inputs, labels, total, size, highest = [], [], 0, None, 0.0
    for batch in as_batches(dataset, "pseudo_label", inputs=teachers[0].input_count):
        x = unpack_x_y(batch)[0]
        for teacher in teachers:
            teacher.check_batch(x)
        predicted, probability = map(ops.convert_to_numpy, predict(x))
        confident = probability >= threshold
        kept = confident.reshape(len(confident), -1).any(axis=1)
        inputs.append(tree.map_structure(lambda part, kept=kept: np.asarray(part)[kept], x))
        labels.append(_as_labels(predicted, confident, task)[kept])
        size, total = size or len(confident), total + len(confident)
        highest = max(highest, float(probability.max(initial=0.0)))
    y = np.concatenate(labels) if labels else np.zeros(0)
    if not len(y):
        raise ValueError(
            f"pseudo_label: none of {total:,} samples reaches threshold={threshold}; the highest "
            f"probability is {highest:.3f}."
        )
    x = tree.map_structure(lambda *parts: np.concatenate(parts), *inputs)
    counts = _count_labels(y, task, ensemble.members[0].shapes[_OUTPUT][-1])
    labeled = tf.data.Dataset.from_tensor_slices((x, y)).batch(size)
    return PseudoLabels(labeled, len(y), total, counts)


def _find_task(teachers: Sequence[BaseTeacher]) -> str:
    """Return the common task of the teachers.

    Raises:
        ValueError: If they have none, or it is a regression.
    """
    output = common_output(teachers, "pseudo_label")
    task = output.task or require_task(single_evidence(teachers[0], "pseudo_label"))
    if task == "values":
        raise ValueError(
            "pseudo_label: the teachers' outputs are numbers (regression), which have no "
            "confidence. Train on the outputs themselves: kd.Distiller(student, teachers, "
            "losses=kd.losses.OutputsMSE())."
        )
    return task


def _make_predict(ensemble: Ensemble, task: str) -> Callable[[Any], tuple[Any, Any]]:
    """Return a function from a batch to the predicted labels and their probabilities."""
    squash = ops.softmax if task == "classes" else ops.sigmoid

    def predict(x: Any) -> tuple[Any, Any]:
        knowledge = ensemble(x)
        parts = [
            squash(as_output(outputs[_OUTPUT], member.kinds[_OUTPUT], task))
            for outputs, member in zip(knowledge.outputs, ensemble.members, strict=True)
        ]
        probability = _weighted_mean(parts, knowledge.weights)
        if task == "classes":
            return ops.argmax(probability, axis=-1), ops.max(probability, axis=-1)
        if task == "binary":
            probability = probability[..., 0]
        return probability > 0.5, ops.maximum(probability, 1 - probability)

    if backend.BACKEND == "tensorflow":
        return tf.function(predict, reduce_retracing=True, autograph=False)

    def predict_arrays(x: Any) -> tuple[Any, Any]:
        with backend.without_gradients():
            return predict(tree.map_structure(np.asarray, x))

    return predict_arrays


def _weighted_mean(parts: Sequence[Any], weights: Any) -> Any:
    """Return the mean over teachers; `weights` are (teachers, batch), `None` for one teacher."""
    if weights is None:
        return parts[0]
    stacked = ops.stack(parts)
    weights = ops.cast(weights, stacked.dtype)
    extra = len(stacked.shape) - len(weights.shape)
    return ops.sum(stacked * ops.reshape(weights, (*ops.shape(weights), *[1] * extra)), axis=0)


def _as_labels(predicted: np.ndarray, confident: np.ndarray, task: str) -> np.ndarray:
    """Return labels in which those of too low a probability are missing."""
    if task == "labels":
        return np.where(confident, predicted, np.nan).astype("float32")
    return np.where(confident, predicted.astype("int64"), UNLABELED)


def _count_labels(labels: np.ndarray, task: str, units: int) -> tuple[int, ...]:
    """Return the number of labels of each class, or of samples that have each label."""
    if task == "labels":
        return tuple(np.nansum(labels.reshape(-1, units), axis=0).astype(int).tolist())
    known = labels[labels != UNLABELED].ravel()
    return tuple(np.bincount(known, minlength=max(units, 2)).tolist())


def _check(teachers: list, threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(
            f"pseudo_label: `threshold` must be a probability. Received: threshold={threshold}"
        )
    named = [teacher.name for teacher in teachers if teacher.classes is not None]
    if named:
        raise ValueError(
            "pseudo_label: teachers of a subset of the classes give no probability for the other "
            f"classes. Received: teachers with `classes`: {named}"
        )
