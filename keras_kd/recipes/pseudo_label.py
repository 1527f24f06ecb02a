"""A labelled data set from an unlabelled one: what the teachers are sure of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_kd.datasets.mix_unlabeled import unpack_elements
from keras_kd.models.taps import Tap
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.teacher import as_teachers
from keras_kd.teachers.weighting import Weighting
from keras_kd.training.labels import UNLABELED

_OUTPUT = Tap(None, logits=True)


@dataclass(frozen=True)
class PseudoLabels:
    """What `pseudo_label` gives.

    Attributes:
        dataset: Batches (x, label) of the samples that were kept, in their order.
        kept: How many samples were kept.
        total: How many there were.
        classes: How many labels (of samples, or of pixels) each class got.
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
    dataset: tf.data.Dataset,
    threshold: float = 0.95,
    *,
    weighting: Weighting | None = None,
) -> PseudoLabels:
    """Labels samples with the class that the teachers find most likely, where they are sure.

    For users who want labels; `Distiller` needs none and learns from the teachers' whole answer. A
    sample is kept where the greatest probability is at least `threshold`; of several teachers that
    is the greatest of their weighted mean. On a map each pixel is judged apart: those below are
    `kd.UNLABELED`, and a map with none above is dropped. Each teacher runs once over the data, and
    what is kept stays in memory; `result.dataset.save(path)` writes it to the disk.

    Args:
        teachers: A trained `keras.Model`, a `kd.Teacher`, or a list of either, with one output and
            the same classes.
        dataset: Batches of x, or tuples that begin with x; labels in it are not looked at.
        threshold: Least probability, from 0 to 1. Defaults to 0.95.
        weighting: How several teachers are weighed, one of `kd.weighting`. Defaults to
            `kd.weighting.Uniform()`.

    Returns:
        The `PseudoLabels`: the data set, its batches as large as the first of `dataset`, and how
        many were kept. Labels are integers, of a single output 0 or 1.

    Raises:
        TypeError: When `dataset` is no `tf.data.Dataset`.
        ValueError: When `threshold` is out of range, teachers have classes of their own, or no
            sample reaches the threshold.

    Example:
        >>> result = kd.pseudo_label(teacher, unlabeled, threshold=0.9)
        >>> print(result)
        >>> student.fit(labeled.concatenate(result.dataset))
    """
    teachers = as_teachers(teachers)
    _check(teachers, dataset, threshold)
    ensemble = Ensemble(teachers, [_OUTPUT], weighting, combine="probabilities")
    judge = _judge(ensemble)
    inputs, labels, total, size, greatest = [], [], 0, None, 0.0
    for batch in dataset:
        x = unpack_elements(batch)[0]
        found, confidence = (np.asarray(part) for part in judge(x))
        sure = confidence >= threshold
        some = sure.reshape(len(sure), -1).any(axis=1)
        inputs.append(tree.map_structure(lambda part, some=some: np.asarray(part)[some], x))
        labels.append(np.where(sure, found, UNLABELED)[some])
        size, total = size or len(sure), total + len(sure)
        greatest = max(greatest, float(confidence.max(initial=0.0)))
    y = np.concatenate(labels) if labels else np.zeros(0)
    if not len(y):
        raise ValueError(
            f"pseudo_label: none of {total:,} samples reaches threshold={threshold}; the greatest "
            f"probability was {greatest:.3f}."
        )
    x = tree.map_structure(lambda *parts: np.concatenate(parts), *inputs)
    counts = np.bincount(y[y != UNLABELED].ravel(), minlength=_classes(ensemble))
    kept = tf.data.Dataset.from_tensor_slices((x, y)).batch(size)
    return PseudoLabels(kept, len(y), total, tuple(int(count) for count in counts))


def _classes(ensemble: Ensemble) -> int:
    """How many classes the teachers know; a single output tells two apart."""
    member = ensemble.members[0]
    classes = member.shapes[_OUTPUT][-1]
    if classes > 1 and member.activations.get(_OUTPUT) == "sigmoid":
        raise ValueError(
            f"pseudo_label: teacher '{member.teacher.name}' ends in a sigmoid over {classes} "
            "outputs, so it names any number of classes at once and no most likely one."
        )
    return max(classes, 2)


def _judge(ensemble: Ensemble) -> Callable[[Any], tuple[Any, Any]]:
    """The step that gives the most likely class of each sample and its probability."""
    single = ensemble.members[0].shapes[_OUTPUT][-1] == 1
    _classes(ensemble)

    @tf.function(reduce_retracing=True)
    def judge(x: Any) -> tuple[Any, Any]:
        knowledge = ensemble(x)
        logits = knowledge.blended.get(_OUTPUT, knowledge.outputs[0][_OUTPUT])
        logits = ops.cast(logits, "float32")
        if single:
            logits = ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
        probability = ops.exp(ops.max(ops.log_softmax(logits, axis=-1), axis=-1))
        return ops.cast(ops.argmax(logits, axis=-1), "int64"), probability

    return judge


def _check(teachers: list, dataset: Any, threshold: float) -> None:
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(
            "pseudo_label: `dataset` must be a tf.data.Dataset of batches. "
            f"Received: {type(dataset).__name__}"
        )
    if not 0 <= threshold <= 1:
        raise ValueError(
            f"pseudo_label: `threshold` must be a probability. Received: threshold={threshold}"
        )
    named = [teacher.name for teacher in teachers if teacher.classes is not None]
    if named:
        raise ValueError(
            "pseudo_label: teachers that know some of the classes cannot say how likely the others "
            f"are. Received: teachers with `classes`: {named}"
        )
