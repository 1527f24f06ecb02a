"""The common task of teachers that are used without a student, and their outputs for it."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.models.logits import log_odds
from keras_kd.models.output_evidence import OutputTask, decide_output
from keras_kd.models.taps import Tap
from keras_kd.models.task import MEANINGS, Evidence
from keras_kd.teachers.base import BaseTeacher


def single_evidence(teacher: BaseTeacher, caller: str) -> Evidence:
    """Return what is known of the only output of a teacher.

    Args:
        teacher: A teacher.
        caller: The function that needs it, for messages.

    Raises:
        ValueError: If it has several outputs, or its outputs are stored in a cache.
    """
    evidence = teacher.evidence()
    if len(evidence) > 1:
        raise ValueError(
            f"{caller}: teacher '{teacher.name}' has several outputs, {list(evidence)}. Make a "
            "model of one of them: keras.Model(model.input, model.outputs[0])."
        )
    return next(iter(evidence.values()))


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
        self._watched = teacher.watch([self._tap])

    def __call__(self, x: Any) -> Any:
        """Run the teacher on a batch and return (batch, ..., units) in float32 or float64."""
        kind = self._watched.kinds.get(self._tap, "values")
        return as_output(self._watched(x)[self._tap], kind, self._task)


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
