"""Which model of a report is the teacher, and which one is the student."""

from collections.abc import Sequence
from pathlib import PurePath


def find_roles(names: Sequence[str], teacher: str | None, student: str | None) -> tuple[str, str]:
    """Return the names of the teacher and of the student.

    A model is the teacher or the student if the user declares it, or by its name (`"teacher"` or
    `"teacher.keras"`). Otherwise the first one is the teacher, and of two models the other one is
    the student.

    Raises:
        ValueError: If there are fewer than two models, a name is not one of them, both roles have
            the same model, or several models may be the student.
    """
    if len(names) < 2:
        raise ValueError(
            f"Expected at least two models to compare. Received: {names}. Pass a teacher and a "
            "student by name."
        )
    for argument, name in (("teacher", teacher), ("student", student)):
        if name is not None and name not in names:
            raise ValueError(
                f"Expected {argument}=... to be one of {names}. Received: {name!r}. Choose one."
            )
    if teacher is None:
        others = [name for name in names if name != student]
        teacher = _called("teacher", others) or others[0]
    if student is None:
        others = [name for name in names if name != teacher]
        student = others[0] if len(others) == 1 else _called("student", others)
    if student is None:
        raise ValueError(
            "Expected student=..., the model whose numbers are the headline of the report. "
            f"Received: the models {names} with the teacher '{teacher}'. Name one of the others."
        )
    if student == teacher:
        raise ValueError(
            f"Expected two models as teacher and student. Received: '{student}' for both. Choose "
            "another one."
        )
    return teacher, student


def _called(role: str, names: Sequence[str]) -> str | None:
    """Return the only name that is the role, with or without a suffix."""
    found = [name for name in names if name == role] or [
        name for name in names if PurePath(name).stem == role
    ]
    return found[0] if len(found) == 1 else None
