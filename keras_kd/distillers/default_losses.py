"""The losses of an argument `losses`, and how they follow the task of their output."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.losses import DistillationLoss, LabelsFirst, OutputsMSE, SoftTargets
from keras_kd.losses import get as get_loss
from keras_kd.models.graph import is_graph
from keras_kd.models.output_evidence import compiled_losses
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.models.task import Evidence, decide_task, require_task
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.output_teachers import OutputTeachers
from keras_kd.teachers.teacher import as_teachers
from keras_kd.teachers.weighting import Uniform, Weighting

_NAMES = {SoftTargets: "soft_targets", OutputsMSE: "outputs_mse"}
#: Of the default of a distiller; docs/benchmarks.md compares it with the former one.
_TEMPERATURE, _WEIGHT = 2.0, 0.5


def distiller_losses(
    student: keras.Model, teachers: Any, weighting: Weighting | None
) -> list[DistillationLoss]:
    """Return the losses of a `Distiller` without `losses`: its teacher joins after the labels.

    With weights per sample, the teachers teach from the start: a bad one among them has little
    weight already, but would raise the mean error that `LabelsFirst` measures.

    Raises:
        ValueError: As `as_losses`.
    """
    first = weighting is None or type(weighting) is Uniform
    return [
        _make_default(
            SoftTargets,
            first,
            temperature=_TEMPERATURE,
            weight=_WEIGHT,
            teacher_tap=loss.teacher_tap,
            student_tap=loss.student_tap,
            name=loss.name,
        )
        for loss in as_losses(None, student, teachers)
    ]


def as_losses(
    losses: Any, student: keras.Model | None = None, teachers: Any = None
) -> list[DistillationLoss]:
    """Return the distillation losses of an argument `losses`.

    Args:
        losses: The argument; `None` means one loss per output, by its task.
        student: The student, for the names of its outputs. Defaults to `None`: it has one.
        teachers: The teachers, or `None` for now. Defaults to `None`.

    Raises:
        ValueError: If the student has several outputs, and a teacher does not have them.
    """
    if losses is None:
        return [_mark_default(loss) for loss in _default_losses(student, teachers)]
    several = losses if isinstance(losses, (list, tuple)) else [losses]
    return [get_loss(loss) for loss in several]


def _default_losses(student: keras.Model | None, teachers: Any) -> list[DistillationLoss]:
    """Return a loss for each output of the student, or of those that have a teacher."""
    teachers = [] if teachers is None else as_teachers(teachers)
    by_output = [one for one in teachers if isinstance(one, OutputTeachers)]
    if student is None or (not by_output and is_graph(student) and len(student.outputs) == 1):
        return [SoftTargets()]
    names = TappedModel(student, []).output_names
    if len(names) == 1 and not by_output:
        return [SoftTargets()]
    if by_output:
        names = [name for name in names if name in by_output[0].teachers]
    for teacher in teachers:
        _check_outputs(teacher, names)
    return [
        SoftTargets(teacher_tap=name, student_tap=name, name=f"soft_targets_{name}")
        for name in names
    ]


def _check_outputs(teacher: BaseTeacher, names: Sequence[str]) -> None:
    """Reject a teacher that lacks some of the student's outputs."""
    missing = [name for name in names if name not in teacher.output_names]
    if missing:
        raise ValueError(
            f"Without `losses`, each output of the student, {list(names)}, learns the teacher's "
            f"output of the same name. Received: teacher '{teacher.name}' with the outputs "
            f"{teacher.output_names}. Give the outputs (or their layers) the same names; pass a "
            "teacher for each output, teachers={'OUTPUT': model}; or pass losses, such as "
            f"kd.losses.SoftTargets(teacher_tap='NAME', student_tap={missing[0]!r})."
        )


def copy_loss(
    loss: DistillationLoss, student_tap: str | None = None, **changes: Any
) -> DistillationLoss:
    """Return a copy of a loss with other arguments; the copy of a default is a default."""
    copy = type(loss).from_config({**loss.get_config(), **changes})
    if student_tap is not None:
        copy.student_tap = student_tap  # A loss around another has no argument for it.
    return _mark_default(copy) if loss.is_default else copy


def task_of_loss(loss: DistillationLoss, evidence: Evidence) -> str | None:
    """Return the task of the output of a loss on logits, `None` if it is not known.

    Raises:
        ValueError: If the evidence is contradictory, or a default has none, or a default or a loss
            for numbers alone gets values that end in a softmax or sigmoid.
    """
    if loss.is_default:
        task = require_task(evidence)
        if task == "values" and evidence.declared != "values":
            _check_not_squashed(evidence)
        return task
    if evidence.declared == "values":
        return decide_task(evidence)
    own = loss.declared_task(evidence.units)
    if own is not None:
        evidence = dataclasses.replace(evidence, declared=own)
    task = decide_task(evidence)
    if task == "values" and loss.tasks == ("values",):
        _check_not_squashed(evidence)
    return task


def loss_for_task(loss: DistillationLoss, task: str | None) -> DistillationLoss:
    """Return a loss on logits for a task.

    A default becomes the loss of the task: `SoftTargets` for classes, a yes-or-no question or
    labels, and `OutputsMSE` for values, in `LabelsFirst` if it was. Any other loss learns the task,
    or refuses it.

    Raises:
        ValueError: If the loss is not for the task.
    """
    kind = OutputsMSE if task == "values" else SoftTargets
    first = isinstance(loss, LabelsFirst)
    before = type(loss.loss if first else loss)
    if loss.is_default and before is not kind:
        softened = {"temperature": _TEMPERATURE} if first and kind is SoftTargets else {}
        loss = _make_default(
            kind,
            first,
            **softened,
            weight=float(loss.weight),
            teacher_tap=loss.teacher_tap,
            student_tap=loss.student_tap,
            name=loss.name.replace(_NAMES[before], _NAMES[kind], 1),
        )
    if task is not None:
        loss.set_task(task)
    return loss


def compiled_loss(teacher: BaseTeacher, tap: Tap) -> Any:
    """Return the loss that a teacher's model is compiled with at an output, `None` for none."""
    if isinstance(teacher, OutputTeachers):
        return compiled_loss(*teacher.route(tap))
    if teacher.model is None:
        return None
    names = teacher.output_names
    return compiled_losses(teacher.model, names).get(tap.name or names[0])


def _check_not_squashed(evidence: Evidence) -> None:
    """Reject a loss for values after an activation: it would compare those before it."""
    if {"softmax", "sigmoid"} & set(evidence.heads):
        raise ValueError(
            f"A loss of the output '{evidence.name}' is for numbers (regression), and "
            f"the output ends in a softmax or sigmoid. Received: {evidence.heads} (student, "
            "teachers). Pass `losses=kd.losses.OutputsMSE()`, which compares the values before the "
            "activation; to compare those after it declare student_outputs='values' and "
            "kd.Teacher(model, outputs='values')."
        )


def _make_default(kind: type[DistillationLoss], first: bool, **arguments: Any) -> DistillationLoss:
    """Return a default of a kind, whose teacher joins after the labels if it is to be `first`."""
    loss = kind(**arguments)
    return _mark_default(LabelsFirst(loss, name=loss.name) if first else loss)


def _mark_default(loss: DistillationLoss) -> DistillationLoss:
    loss.is_default = True
    return loss
