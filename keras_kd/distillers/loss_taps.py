"""The taps of a distillation loss, and values at them."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.losses import DistillationLoss
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.teachers.teacher import as_teachers
from keras_kd.training.labels import per_output


def student_tap(loss: DistillationLoss) -> Tap | list[Tap]:
    """Return the student's tap of a loss, or its taps if it compares several pairs."""
    return _taps(loss.student_tap, loss.on_logits)


def teacher_tap(loss: DistillationLoss) -> Tap | list[Tap]:
    """Return the teacher's tap of a loss, or its taps."""
    return _taps(loss.teacher_tap, loss.on_logits)


def choose_taps(terms: Sequence[DistillationLoss], teachers: Any, student: keras.Model) -> None:
    """Let the losses choose their taps, and look up those that were passed as layers."""
    first = as_teachers(teachers)[0] if teachers else None
    for loss in terms:
        loss.resolve_taps([first.original if first else None], [student])
        loss.choose_taps(first.model if first else None, student)


def at_taps(taps: Tap | list[Tap], values: dict[Tap, Any]) -> Any:
    """Return the value at a tap, or a list of values for a list of taps."""
    return [values[tap] for tap in taps] if isinstance(taps, list) else values[taps]


def as_shapes(saved: Sequence) -> Any:
    """Return a shape, or a list of shapes, from the lists that JSON makes of them."""
    if saved and isinstance(saved[0], (list, tuple)):
        return [tuple(shape) for shape in saved]
    return tuple(saved)


def _taps(names: str | Sequence[str] | None, logits: bool) -> Tap | list[Tap]:
    if isinstance(names, (list, tuple)):
        return [Tap(name, logits) for name in names]
    return Tap(names, logits)


def labels_at(student: TappedModel, tap: str | None, y: Any) -> Any:
    """Return the labels for a loss at a tap of the student, with the classes on the last axis.

    Labels of the only output are for all taps; those of one of several outputs for its own.
    """
    names = student.output_names
    own = student.output_of(tap) or (names[0] if len(names) == 1 else None)
    return student.arrange(own or names[0], per_output(y, own or tap, names))
