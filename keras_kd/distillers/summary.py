"""The table that `Distiller.summary()` prints."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_kd.files import text_table

_COLUMNS = ("role", "name", "parameters", "trained", "taps")


def distiller_summary(distiller: Any, print_fn: Callable[[str], None] = print) -> None:
    """Print a table with a row for each teacher, student, projector and loss of a distiller."""
    losses = distiller.distillation_losses
    rows = []
    for teacher in distiller.teachers:
        taps = ", ".join(_tap(loss.teacher_tap) for loss in losses)
        rows.append(("teacher (frozen)", teacher.name, f"{teacher.parameters:,}", "0", taps))
    student = distiller.student
    taps = ", ".join(_tap(loss.student_tap) for loss in losses)
    trained = _size(student.trainable_weights)
    rows.append(("student", student.name, _size(student.weights), trained, taps))
    for key, projector in distiller.projectors.items():
        trained = _size(projector.trainable_weights)
        rows.append(("projector", projector.name, _size(projector.weights), trained, key))
    for name, loss in zip(distiller.objective.names, losses, strict=True):
        pairs = ", ".join(f"{one} -> {other}" for one, other in _pairs(loss))
        what = f"{pairs}, weight {float(loss.weight):g}{_task(distiller.objective.tasks, loss)}"
        rows.append(("loss", name, "", "", what))
    print_fn(f'Distiller "{distiller.name}"')
    for line in text_table(_COLUMNS, rows, right=(2, 3)).splitlines():
        print_fn(line)
    print_fn("Only the student is deployed; projectors are used in training only.")


def _tap(names: str | Sequence[str] | None) -> str:
    if isinstance(names, (list, tuple)):
        return ", ".join(names)
    return "output" if names is None else names


def _pairs(loss: Any) -> list[tuple[str, str]]:
    if isinstance(loss.teacher_tap, (list, tuple)):
        return list(zip(loss.teacher_tap, loss.student_tap, strict=True))
    return [(_tap(loss.teacher_tap), _tap(loss.student_tap))]


def _task(tasks: Mapping[str, str | None], loss: Any) -> str:
    """Return the end of a row: the task that a loss on logits is for, once compiled."""
    name = loss.student_tap or next(iter(tasks), None)
    task = tasks.get(name) if loss.on_logits and isinstance(name, str) else None
    return "" if task is None else f", for {task}"


def _size(weights: Sequence[keras.Variable]) -> str:
    return f"{sum(math.prod(weight.shape) for weight in weights):,}"
