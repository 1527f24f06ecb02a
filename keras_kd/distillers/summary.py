"""What `summary()` prints: models, losses, taps and parameters, in the manner of Keras."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.files import text_table
from keras_kd.teachers.base import BaseTeacher

_MODELS = ("role", "name", "params", "trainable", "taps")
_LOSSES = ("loss", "teacher -> student", "weight")
_UNITS = ("B", "KB", "MB", "GB")


@dataclass(frozen=True)
class Part:
    """A model, or a layer that is used in training only.

    Attributes:
        role: Such as `"student"`.
        layer: It.
        taps: What the losses read of it.
    """

    role: str
    layer: keras.layers.Layer
    taps: str = ""

    def row(self) -> tuple[str, ...]:
        """Return the cells of its row."""
        weights, trained = self.layer.weights, self.layer.trainable_weights
        return self.role, self.layer.name, _size(weights), _size(trained), self.taps


def print_summary(
    model: keras.Model,
    teachers: Mapping[BaseTeacher, str],
    parts: Sequence[Part],
    losses: Sequence[tuple[str, str, str]],
    print_fn: Callable[[str], None],
) -> None:
    """Print the models, the losses and the numbers of parameters, line by line.

    Args:
        model: The model that is trained.
        teachers: The frozen teachers, with what the losses read of each.
        parts: The parts of the model.
        losses: For each loss its name, its taps and its weight.
        print_fn: Called with each line.
    """
    rows = [
        ("teacher (frozen)", teacher.name, f"{teacher.parameters:,}", "0", taps)
        for teacher, taps in teachers.items()
    ]
    rows += [part.row() for part in parts]
    print_fn(f'{type(model).__name__}: "{model.name}"')
    for table in ((_MODELS, rows, (2, 3)), (_LOSSES, losses, (2,))):
        for line in (*text_table(*table).splitlines(), ""):
            print_fn(line)
    trained = list({id(w): w for part in parts for w in part.layer.trainable_weights}.values())
    other = list({id(w): w for part in parts for w in part.layer.non_trainable_weights}.values())
    print_fn(f"Trainable params: {_size(trained)} ({_memory(trained)})")
    print_fn(f"Non-trainable params: {_size(other)} ({_memory(other)})")
    if model.compiled and model.optimizer.built:
        weights = model.optimizer.variables
        print_fn(f"Optimizer params: {_size(weights)} ({_memory(weights)})")


def distiller_summary(distiller: Any, print_fn: Callable[[str], None] = print) -> None:
    """Print the summary of a distiller."""
    losses = distiller.distillation_losses
    taps = ", ".join(dict.fromkeys(_tap(loss.teacher_tap) for loss in losses))
    students = distiller.objective.tapped_students
    parts = [
        Part("student", one.model, ", ".join(dict.fromkeys(_tap(tap.name) for tap in one.taps)))
        for one in students
    ]
    parts += [Part(*row) for row in distiller.training_layers()]
    rows = list(_loss_rows(distiller))
    print_summary(distiller, dict.fromkeys(distiller.teachers, taps), parts, rows, print_fn)
    print_fn(
        "Deployed: one of the students."
        if len(students) > 1
        else "Deployed: the student. All other parts are used in training only."
    )


def _loss_rows(distiller: Any) -> Iterable[tuple[str, str, str]]:
    """Yield the losses on the labels, then those of distillation."""
    if not distiller.compiled or distiller.compiled_loss_fn is not None:
        for name in distiller.label_loss_names:
            yield name, "labels -> output", _weight(getattr(distiller, f"{name}_weight"))
    objective = distiller.objective
    for name, loss in zip(objective.names, objective.terms, strict=True):
        pairs = ", ".join(f"{one} -> {other}" for one, other in _pairs(loss))
        yield name, f"{pairs}{_task(objective.tasks, loss)}", _weight(loss.weight)


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


def _weight(value: Any) -> str:
    return f"{float(value):g}"


def _size(weights: Iterable[keras.Variable]) -> str:
    return f"{sum(math.prod(weight.shape) for weight in weights):,}"


def _memory(weights: Iterable[keras.Variable]) -> str:
    """Return the memory of weights in the units of Keras."""
    value = float(sum(math.prod(w.shape) * _bytes(w.dtype) for w in weights))
    power = min(int(math.log(value, 1024)) if value else 0, len(_UNITS) - 1)
    return f"{value / 1024**power:.2f} {_UNITS[power]}"


def _bytes(dtype: Any) -> int:
    """Return the bytes of a value: 4 for `float32`, 1 for `float8_e4m3fn` and `bool`."""
    bits = re.search(r"\d+", keras.backend.standardize_dtype(dtype))
    return int(bits.group()) // 8 if bits else 1
