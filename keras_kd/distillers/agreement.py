"""How often a student predicts the same class as its teachers."""

from collections.abc import Iterable, Sequence
from typing import Any

from keras import ops

from keras_kd.distillers.loss_taps import student_tap, teacher_tap
from keras_kd.losses import DistillationLoss
from keras_kd.losses.reduction import mean_over_samples
from keras_kd.models.keras_compat import get_mask, set_mask
from keras_kd.models.taps import Tap
from keras_kd.teachers.class_map import restrict_classes
from keras_kd.teachers.knowledge import Knowledge


def mean_agreement(
    losses: Iterable[DistillationLoss],
    knowledge: Knowledge,
    student_outputs: dict[Tap, Any],
    columns: Sequence[Sequence[int] | None],
) -> Any:
    """Return the mean of `class_agreement` over the taps of some losses, `None` without any.

    Args:
        losses: Losses on the logits of classes.
        knowledge: The teachers' outputs.
        student_outputs: The student's outputs by tap.
        columns: As for `class_agreement`.
    """
    taps = dict.fromkeys((teacher_tap(loss), student_tap(loss)) for loss in losses)
    return mean_of_known(
        class_agreement(knowledge, one, student_outputs[other], columns) for one, other in taps
    )


def class_agreement(
    knowledge: Knowledge, tap: Tap, student: Any, columns: Sequence[Sequence[int] | None]
) -> Any:
    """Return the share of samples with the same most likely class.

    Several teachers predict the class of the largest mean probability. In a map or a sequence, a
    sample counts as the mean over its positions, without masked ones.

    Args:
        knowledge: The teachers' outputs.
        tap: Their tap of logits.
        student: The student's logits, (batch, ..., classes).
        columns: For each teacher the student's class of each of its outputs, `None` for all.

    Returns:
        A scalar, or `None` if teachers have different classes.
    """
    if tap in knowledge.combined:
        teacher = knowledge.combined[tap]
    elif len(knowledge.outputs) == 1:
        teacher = knowledge.outputs[0][tap]
        if columns[0] is not None:
            student, _ = restrict_classes(student, None, columns[0])
    elif any(column is not None for column in columns):
        return None
    else:
        teacher = _mean_probabilities([one[tap] for one in knowledge.outputs], knowledge.weights)
    same = ops.equal(ops.argmax(teacher, axis=-1), ops.argmax(student, axis=-1))
    return mean_over_samples(set_mask(ops.cast(same, "float32"), get_mask(student)))


def mean_of_known(shares: Iterable[Any]) -> Any:
    """Return the mean of the shares that are not `None`, or `None` if there are none."""
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None


def _mean_probabilities(logits: Sequence[Any], weights: Any) -> Any:
    stacked = ops.softmax(ops.cast(ops.stack(logits), "float32"), axis=-1)
    missing = len(stacked.shape) - len(weights.shape)
    weights = ops.reshape(ops.cast(weights, "float32"), (*ops.shape(weights), *[1] * missing))
    return ops.sum(stacked * weights, axis=0)
