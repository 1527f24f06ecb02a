"""A class of students that come as files, some of which may be lost."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_kd.teacher_class.assembly import side_by_side
from keras_kd.teacher_class.cached_representation import representation_of
from keras_kd.teacher_class.chunks import chunks_of
from keras_kd.teacher_class.students import require_fit
from keras_kd.teachers.teacher import Teacher

Files = Sequence[str | os.PathLike | keras.Model | None]


def class_from_files(
    teacher: keras.Model | Teacher,
    layer: str,
    files: Files,
    chunks: Sequence[int] | Sequence[Sequence[int]] | None,
    split: str,
    data: Any,
    mimic: str,
    head: str | keras.layers.Layer | None,
    name: str,
) -> keras.Model:
    """Assembles students that were trained apart; see `TeacherClass.assemble_from`."""
    representation = representation_of(teacher, layer, mimic)
    chunks = chunks_of(representation, chunks, len(files), split, data)
    students = loaded_students(files, data)
    for number, student in enumerate(students):
        if student is not None:
            require_fit(student, number, (*representation.shape[:-1], len(chunks[number])))
    means = representation.mean(data) if None in students else None
    return side_by_side(students, chunks, representation, head, means, name)


def loaded_students(files: Files, data: Any) -> list[keras.Model | None]:
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
            stacklevel=4,
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
