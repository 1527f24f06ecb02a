"""Pseudo-labels: label a data set with the confident predictions of teachers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_kd.litert.signature import unpack_x_y
from keras_kd.models.taps import Tap
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.teacher import as_teachers
from keras_kd.teachers.weighting import Weighting
from keras_kd.training.batches import as_batches
from keras_kd.training.labels import UNLABELED

_OUTPUT = Tap(None, logits=True)


@dataclass(frozen=True)
class PseudoLabels:
    """Result of `pseudo_label`.

    Attributes:
        dataset: Batches (x, label) of the kept samples, in their order.
        kept: Number of kept samples.
        total: Number of samples.
        classes: Number of labels of each class, for samples or pixels.
    """

    dataset: tf.data.Dataset
    kept: int
    total: int
    classes: tuple[int, ...]

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
    """Label samples with the teachers' most likely class if its probability is high enough.

    `Distiller` needs no labels and learns from the teachers' full distribution; use this function
    if you need labels. A sample is kept if its highest probability is at least `threshold`. The
    probabilities of several teachers are averaged with the weights. In a map, pixels below the
    threshold are `kd.UNLABELED`, and maps without any pixel above it are dropped. Each teacher runs
    once over the data. The kept samples stay in memory; save them with `result.dataset.save(path)`.

    Args:
        teachers: A trained `keras.Model`, a `kd.Teacher`, or a list of either, with one output and
            the same classes.
        dataset: A `tf.data.Dataset` or another iterable of batches of x, or of tuples that begin
            with x, whose labels are ignored; or arrays.
        threshold: Minimum probability, from 0 to 1. Defaults to 0.95.
        weighting: Weighting of several teachers, one of `kd.weighting`. Defaults to
            `kd.weighting.Uniform()`.

    Returns:
        A `PseudoLabels` with the data set, in batches of the size of the first batch of `dataset`,
        and the counts. Labels are integers, 0 or 1 for a single output.

    Raises:
        TypeError: If `dataset` has another form.
        ValueError: If `threshold` is out of range, a teacher has `classes`, or no sample reaches
            the threshold.

    Example:
        >>> result = kd.pseudo_label(teacher, unlabeled, threshold=0.9)
        >>> print(result)
        >>> student.fit(labeled.concatenate(result.dataset))
    """
    teachers = as_teachers(teachers)
    _check(teachers, threshold)
    ensemble = Ensemble(teachers, [_OUTPUT], weighting, combine="probabilities")
    classes = _count_classes(ensemble)
    predict = _make_predict(ensemble)
    inputs, labels, total, size, highest = [], [], 0, None, 0.0
    for batch in as_batches(dataset, "pseudo_label", inputs=teachers[0].input_count):
        x = unpack_x_y(batch)[0]
        predicted, probability = (np.asarray(part) for part in predict(x))
        confident = probability >= threshold
        kept = confident.reshape(len(confident), -1).any(axis=1)
        inputs.append(tree.map_structure(lambda part, kept=kept: np.asarray(part)[kept], x))
        labels.append(np.where(confident, predicted, UNLABELED)[kept])
        size, total = size or len(confident), total + len(confident)
        highest = max(highest, float(probability.max(initial=0.0)))
    y = np.concatenate(labels) if labels else np.zeros(0)
    if not len(y):
        raise ValueError(
            f"pseudo_label: none of {total:,} samples reaches threshold={threshold}; the highest "
            f"probability is {highest:.3f}."
        )
    x = tree.map_structure(lambda *parts: np.concatenate(parts), *inputs)
    counts = np.bincount(y[y != UNLABELED].ravel(), minlength=classes)
    labeled = tf.data.Dataset.from_tensor_slices((x, y)).batch(size)
    return PseudoLabels(labeled, len(y), total, tuple(int(count) for count in counts))


def _count_classes(ensemble: Ensemble) -> int:
    """Return the number of classes, 2 for a single output."""
    member = ensemble.members[0]
    classes = member.shapes[_OUTPUT][-1]
    if classes > 1 and member.activations.get(_OUTPUT) == "sigmoid":
        raise ValueError(
            f"pseudo_label: teacher '{member.teacher.name}' ends in a sigmoid over {classes} "
            "outputs, so its classes are not mutually exclusive and none is the most likely."
        )
    return max(classes, 2)


def _make_predict(ensemble: Ensemble) -> Callable[[Any], tuple[Any, Any]]:
    """Return a function from a batch to the most likely classes and their probabilities."""
    single = ensemble.members[0].shapes[_OUTPUT][-1] == 1

    @tf.function(reduce_retracing=True)
    def predict(x: Any) -> tuple[Any, Any]:
        knowledge = ensemble(x)
        logits = knowledge.combined.get(_OUTPUT, knowledge.outputs[0][_OUTPUT])
        logits = ops.cast(logits, "float32")
        if single:
            logits = ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
        probability = ops.exp(ops.max(ops.log_softmax(logits, axis=-1), axis=-1))
        return ops.cast(ops.argmax(logits, axis=-1), "int64"), probability

    return predict


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
