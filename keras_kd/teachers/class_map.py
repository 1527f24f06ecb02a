"""Which of the student's classes the outputs of a teacher are."""

import difflib
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_kd.models.keras_compat import get_mask, set_mask
from keras_kd.teachers.base import BaseTeacher
from keras_kd.training.labels import UNLABELED, class_indices


@dataclass(frozen=True)
class ClassMap:
    """The classes of a teacher among those of the student.

    Attributes:
        kept: The teacher's outputs to use, in this order; `None` for all of them.
        columns: The student's class of each of these; `None` for all classes in order.
    """

    kept: tuple[int, ...] | None = None
    columns: tuple[int, ...] | None = None


def class_map(
    teacher: BaseTeacher, classes: int, class_names: Sequence[str] | None = None
) -> ClassMap:
    """Return the classes of a teacher among those of the student.

    Args:
        teacher: The teacher, whose `classes` are the student's class of each of its outputs.
        classes: Number of the student's classes.
        class_names: Their names, or `None`.

    Raises:
        ValueError: If a class is unknown or duplicated, or the teacher has none of them.
    """
    if teacher.classes is None:
        return ClassMap()
    columns = [_class_index(teacher, entry, class_names) for entry in teacher.classes]
    kept = [i for i, column in enumerate(columns) if column is not None]
    known = [columns[i] for i in kept]
    if len(set(known)) < len(known):
        raise ValueError(
            f"Teacher '{teacher.name}': `classes` must be unique. "
            f"Received: classes={teacher.classes}"
        )
    if not known or not all(0 <= column < classes for column in known):
        raise ValueError(
            f"Teacher '{teacher.name}': the student has {classes} classes, so `classes` must be "
            f"indices from 0 to {classes - 1}, and None for a class of the teacher that the "
            f"student does not have. Received: classes={teacher.classes}"
        )
    if len(known) == classes:  # All of the student's classes, in any order.
        kept, known = [columns.index(column) for column in range(classes)], None
    return ClassMap(
        None if kept == list(range(len(columns))) else tuple(kept),
        None if known is None else tuple(known),
    )


def restrict_classes(logits: Any, labels: Any, columns: Sequence[int]) -> tuple[Any, Any]:
    """Return the student's logits and the labels among the classes that a teacher has."""
    own = ops.convert_to_tensor(list(columns), dtype="int32")
    if labels is not None:
        target = class_indices(labels, logits.shape)
        matches = ops.expand_dims(target, -1) == own
        position = ops.cast(ops.argmax(matches, axis=-1), "int32")
        labels = ops.where(ops.any(matches, axis=-1), position, UNLABELED)
    restricted, mask = ops.take(logits, own, axis=-1), get_mask(logits)
    return restricted if mask is None else set_mask(restricted, mask), labels


def _class_index(
    teacher: BaseTeacher, entry: int | str | None, class_names: Sequence[str] | None
) -> int | None:
    if entry is None:
        return None
    if not isinstance(entry, str):
        if not isinstance(entry, numbers.Real) or entry != int(entry):
            raise ValueError(
                f"Teacher '{teacher.name}': `classes` must be integers or names, or None for a "
                f"class that the student does not have. Received: classes={teacher.classes}"
            )
        return int(entry)
    if class_names is None:
        raise ValueError(
            f"Teacher '{teacher.name}' names its classes, so the student's classes need names too: "
            f"pass `class_names` to the distiller. Received: classes={teacher.classes}"
        )
    if entry not in class_names:
        near = difflib.get_close_matches(entry, class_names, n=3) or list(class_names)[:5]
        known = [name if name in class_names else None for name in teacher.classes]
        raise ValueError(
            f"Teacher '{teacher.name}': the student has no class '{entry}'. Closest names: "
            f"{', '.join(repr(name) for name in near)}. Use None for a class that the "
            f"student does not have: classes={known}. Received: classes={teacher.classes}"
        )
    return list(class_names).index(entry)
