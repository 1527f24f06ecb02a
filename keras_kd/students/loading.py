"""Students of a class that come as files, some of which may be lost."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras


def loaded_students(
    files: Sequence[str | os.PathLike | keras.Model | None], data: Any
) -> list[keras.Model | None]:
    """The students of some files, and `None` for those that are lost, which are reported.

    Args:
        files: As for `TeacherClass.assemble_from`.
        data: The samples that a lost student's mean is taken over, or `None`.

    Returns:
        A model or `None` for each file.

    Raises:
        TypeError: When one is neither file, model nor `None`.
        ValueError: When all are lost, one cannot be read, or one is lost and there are no samples.
    """
    students = [_loaded(number, file) for number, file in enumerate(files)]
    lost = [number for number, student in enumerate(students) if student is None]
    if len(lost) == len(students):
        raise ValueError(
            "TeacherClass.assemble_from: at least one student must be there. "
            f"Received: files={list(files)!r}"
        )
    if lost and data is None:
        raise ValueError(
            f"TeacherClass.assemble_from: the students {lost} are lost. Pass samples as `data`: "
            "the teacher's mean over them takes their place. Received: data=None"
        )
    if lost:
        warnings.warn(
            f"TeacherClass.assemble_from: the students {lost} of {len(students)} are lost; the "
            "mean of the teacher's units takes their place.",
            stacklevel=3,
        )
    return students


def _loaded(number: int, file: Any) -> keras.Model | None:
    if file is None or isinstance(file, keras.Model):
        return file
    if not isinstance(file, (str, os.PathLike)):
        raise TypeError(
            "TeacherClass.assemble_from: `files` must hold paths, models or None. Received: "
            f"{file!r} (of type {type(file).__name__})"
        )
    if not Path(file).exists():
        return None
    try:
        return keras.saving.load_model(file, compile=False)
    except Exception as error:
        raise ValueError(
            f"TeacherClass.assemble_from: student {number} cannot be read from '{file}'; pass None "
            f"for it, and its chunk is filled. The cause: {error}"
        ) from error
