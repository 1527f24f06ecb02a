"""The losses of an argument `losses`, and how they follow the task of their output."""

import dataclasses
from typing import Any

from keras_kd.losses import DistillationLoss, LogitsMSE, SoftTargets
from keras_kd.losses import get as get_loss
from keras_kd.models.output_evidence import compiled_losses
from keras_kd.models.taps import Tap
from keras_kd.models.task import Evidence, decide_task, require_task
from keras_kd.teachers.base import BaseTeacher

_NAMES = {SoftTargets: "soft_targets", LogitsMSE: "logits_mse"}


def as_losses(losses: Any) -> list[DistillationLoss]:
    """Return the distillation losses of an argument `losses`; `None` means one by the task."""
    if losses is None:
        return [_mark_default(SoftTargets())]
    several = losses if isinstance(losses, (list, tuple)) else [losses]
    return [get_loss(loss) for loss in several]


def copy_loss(
    loss: DistillationLoss, student_tap: str | None = None, **changes: Any
) -> DistillationLoss:
    """Return a copy of a loss with other arguments; the copy of a default is a default."""
    copy = type(loss).from_config({**loss.get_config(), **changes})
    if student_tap is not None:
        copy.student_tap = student_tap  # A loss around another has no argument for it.
    return _mark_default(copy) if loss.is_default else copy


def task_of_loss(loss: DistillationLoss, evidence: Evidence) -> str | None:
    """Return the task of the output of a loss on logits, `None` if nothing tells.

    Raises:
        ValueError: If the evidence is contradictory, or a default has none, or is for values that
            end in a softmax or sigmoid.
    """
    if loss.is_default:
        task = require_task(evidence)
        if task == "values" and evidence.declared != "values":
            _check_not_squashed(evidence)
        return task
    own = loss.declared_task(evidence.units)
    if own is not None and evidence.declared != "values":
        evidence = dataclasses.replace(evidence, declared=own)
    return decide_task(evidence)


def loss_for_task(loss: DistillationLoss, task: str | None) -> DistillationLoss:
    """Return a loss on logits for a task.

    A default becomes the loss of the task: `SoftTargets` for classes, a yes-or-no question or
    labels, and `LogitsMSE` for values. Any other loss learns the task, or refuses it.

    Raises:
        ValueError: If the loss is not for the task.
    """
    kind = LogitsMSE if task == "values" else SoftTargets
    if loss.is_default and type(loss) is not kind:
        taps = {"teacher_tap": loss.teacher_tap, "student_tap": loss.student_tap}
        name = loss.name.replace(_NAMES[type(loss)], _NAMES[kind])
        loss = _mark_default(kind(weight=float(loss.weight), name=name, **taps))
    if task is not None:
        loss.set_task(task)
    return loss


def compiled_loss(teacher: BaseTeacher, tap: Tap) -> Any:
    """Return the loss that a teacher's model is compiled with at an output, `None` for none."""
    if teacher.model is None:
        return None
    names = teacher.output_names
    return compiled_losses(teacher.model, names).get(tap.name or names[0])


def _check_not_squashed(evidence: Evidence) -> None:
    """Reject a default for values after an activation: it would compare those before it."""
    if {"softmax", "sigmoid"} & set(evidence.heads):
        raise ValueError(
            f"The compiled loss of the output '{evidence.name}' is for numbers (regression), and "
            f"the output ends in a softmax or sigmoid. Received: {evidence.heads} (student, "
            "teachers). Pass `losses=kd.losses.LogitsMSE()`, which compares the values before the "
            "activation; to compare those after it declare student_outputs='values' and "
            "kd.Teacher(model, outputs='values')."
        )


def _mark_default(loss: DistillationLoss) -> DistillationLoss:
    loss.is_default = True
    return loss
