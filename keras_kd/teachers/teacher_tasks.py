"""The common task of teachers that are used without a student, and their outputs for it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.models.logits import log_odds
from keras_kd.models.output_evidence import OutputTask, decide_output
from keras_kd.models.taps import Tap
from keras_kd.models.task import MEANINGS, Evidence
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.class_map import ClassMap, class_map
from keras_kd.teachers.member import Member


def single_evidence(teacher: BaseTeacher, caller: str) -> Evidence:
    """Return what is known of the only output of a teacher.

    Args:
        teacher: A teacher.
        caller: The function that needs it, for messages.

    Raises:
        ValueError: If it has several outputs, its outputs are stored in a cache, or its `classes`
            do not fit.
    """
    evidence = teacher.evidence()
    if len(evidence) > 1:
        raise ValueError(
            f"{caller}: teacher '{teacher.name}' has several outputs, {list(evidence)}. Make a "
            "model of one of them: keras.Model(model.input, model.outputs[0])."
        )
    (only,) = evidence.values()
    kept = _class_map(teacher, caller).kept
    return only if kept is None else dataclasses.replace(only, units=len(kept))


def _class_map(teacher: BaseTeacher, caller: str) -> ClassMap:
    """Return the classes of a teacher among those of the labels, all of which it must have."""
    if teacher.classes is None:
        return ClassMap()
    if any(isinstance(entry, str) for entry in teacher.classes):
        raise ValueError(
            f"{caller}: the classes of the labels have no names, so `classes` of teacher "
            f"'{teacher.name}' must be indices, or None for a class that the labels do not have. "
            f"Received: classes={teacher.classes}"
        )
    return class_map(teacher, sum(entry is not None for entry in teacher.classes))


def common_output(teachers: Sequence[BaseTeacher], caller: str) -> OutputTask:
    """Return what the outputs of all teachers are, as far as they tell.

    Args:
        teachers: Teachers with one output each.
        caller: The function that needs it, for messages.

    Raises:
        ValueError: If their tasks or their numbers of units differ.
    """
    evidence = {teacher.name: single_evidence(teacher, caller) for teacher in teachers}
    units = {name: one.units for name, one in evidence.items()}
    outputs = {name: decide_output(one) for name, one in evidence.items()}
    tasks = {name: MEANINGS[output.task] for name, output in outputs.items() if output.task}
    if len(set(tasks.values())) > 1:
        raise ValueError(
            f"{caller}: the teachers must have the same task. Received: {tasks}. If they do, "
            "declare it: kd.Teacher(model, outputs=...)."
        )
    if len(set(units.values())) > 1:
        raise ValueError(
            f"{caller}: the teachers must have outputs of the same size. Received: {units}"
        )
    # Any teacher that tells speaks for all of them.
    return max(outputs.values(), key=lambda output: (output.task is not None, output.declared))


class WatchedOutput:
    """The outputs of a teacher for a task: logits, or numbers unchanged.

    Args:
        teacher: A teacher with one output.
        task: One of `kd.models.task.TASKS`.

    Raises:
        ValueError: If its logits cannot be determined.
    """

    def __init__(self, teacher: BaseTeacher, task: str) -> None:
        self._task = task
        self._tap = Tap(None, logits=task != "values")
        watched = teacher.watch([self._tap])
        self._watched = Member(watched, _class_map(teacher, type(self).__name__))

    def __call__(self, x: Any) -> Any:
        """Run the teacher on a batch and return (batch, ..., units) in float32 or float64."""
        kind = self._watched.kinds.get(self._tap, "values")
        outputs = self._watched.convert(self._watched(x))
        return as_output(outputs[self._tap], kind, self._task)


def as_output(values: Any, kind: str, task: str) -> Any:
    """Return the values at a tap of logits as the logits of a task, in float32 or float64.

    Args:
        values: (batch, ..., units).
        kind: Their kind, one of `TappedModel.kinds`.
        task: One of `kd.models.task.TASKS`.
    """
    if kind == "probabilities" and task in ("binary", "labels"):
        values = log_odds(values)  # Of an activation that is not visible: log p.
    is_double = keras.backend.standardize_dtype(values.dtype) == "float64"
    return values if is_double else ops.cast(values, "float32")
