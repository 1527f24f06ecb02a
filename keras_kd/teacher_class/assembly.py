"""Assemble trained students, from memory or from files, into one Functional model."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.distillers.shared_inputs import check_inputs
from keras_kd.models.graph import built_inputs, require_built
from keras_kd.models.inputs import call_model, merge_inputs
from keras_kd.models.user_warnings import warn_user
from keras_kd.teacher_class.basis import (
    Basis,
    require_components,
    rotated_means,
    split_representation,
)
from keras_kd.teacher_class.representation import Representation, make_representation
from keras_kd.teacher_class.stem import require_stem_output
from keras_kd.teacher_class.students import require_chunk_shape
from keras_kd.teachers.teacher import Teacher

Files = Sequence[str | os.PathLike | keras.Model | None]


def assemble_students(
    students: Sequence[keras.Model | None],
    chunks: Sequence[Sequence[int]],
    representation: Representation,
    head: str | keras.layers.Layer | None,
    means: np.ndarray | None = None,
    name: str = "teacher_class",
    stem: keras.Model | None = None,
    basis: Basis | None = None,
) -> keras.Model:
    """Connect students in parallel to one input, and add a head.

    Returns:
        A Functional `keras.Model`. It holds the students themselves and nothing of the teacher.

    Raises:
        TypeError: If `head` is none of these.
        ValueError: If a copy of the teacher's head does not reproduce the teacher's outputs.
    """
    if head != "teacher" and not isinstance(head, (keras.layers.Layer, type(None))):
        raise TypeError(
            "TeacherClass: `head` must be 'teacher', a Keras layer or model, or None. "
            f"Received: head={head!r}"
        )
    present = [student for student in students if student is not None]
    inputs = merge_inputs(present if stem is None else [stem])
    features = inputs if stem is None else call_model(_rename(stem, "stem"), inputs)
    outputs = [
        None if student is None else call_model(_rename(student, f"student_{i}"), features)
        for i, student in enumerate(students)
    ]
    first = next(output for output in outputs if output is not None)
    for i, output in enumerate(outputs):
        if output is None:
            outputs[i] = _constant(means[list(chunks[i])], f"mean_{i}")(first)
    x = _join(outputs, chunks)
    x = x if basis is None else basis.restoring_layer()(x)
    activation = representation.activation()
    x = x if activation is None else activation(x)
    if head == "teacher":
        head = representation.head()
    return keras.Model(inputs, x if head is None else head(x), name=name)


def assemble_from_files(
    teacher: keras.Model | Teacher,
    layer: str,
    files: Files,
    chunks: Sequence[int] | Sequence[Sequence[int]] | None,
    split: str,
    data: Any,
    mimic: str,
    head: str | keras.layers.Layer | None,
    name: str,
    stem: str | os.PathLike | keras.Model | None,
) -> keras.Model:
    """Assemble students that were trained separately; see `TeacherClass.assemble_from`."""
    representation = _make_representation(teacher, layer, mimic, split)
    chunks, basis = split_representation(representation, chunks, len(files), split, data)
    students = _load_students(files, data)
    stem = None if stem is None else _load_stem(stem)
    for number, student in enumerate(students):
        if student is not None:
            require_chunk_shape(student, number, representation, chunks[number])
            if stem is None:
                check_inputs(representation.teacher, student)
            else:
                require_stem_output(stem, student, number)
    if basis is not None:

        def run(x: Any) -> list[Any]:
            x = x if stem is None else call_model(stem, x, training=False)
            return [None if s is None else call_model(s, x, training=False) for s in students]

        require_components(basis, representation, data, chunks, run)
    means = rotated_means(basis, representation.mean(data)) if None in students else None
    return assemble_students(students, chunks, representation, head, means, name, stem, basis)


def _make_representation(
    teacher: keras.Model | Teacher, layer: str, mimic: str, split: str
) -> Representation:
    """Return the representation; files of students do not hold what `"auto"` was in training.

    Raises:
        ValueError: If `mimic` is `"auto"` and the assembled model depends on what it was.
    """
    if mimic != "auto":
        return make_representation(teacher, layer, mimic)
    representation = make_representation(teacher, layer, "output")
    # An activation that is applied to outputs is applied to preactivations too.
    alike = split == "contiguous" and representation.applies_activation
    if representation.has_activation and not alike:
        raise ValueError(
            f"TeacherClass.assemble_from: students of layer '{layer}' are assembled in different "
            "ways after mimic='preactivation', the default with a live teacher, and "
            "mimic='output', the default with a cached one. Pass the one of their training. "
            "Received: mimic='auto'"
        )
    return representation


def _rename(student: keras.Model, name: str) -> keras.Model:
    """Wrap a student under a unique name."""
    inputs = built_inputs(student)
    return keras.Model(inputs, student(inputs), name=name)


def _constant(values: np.ndarray, name: str) -> keras.layers.Layer:
    """Return a layer with constant output, made of a Keras layer that can be exported."""
    return keras.layers.Dense(
        len(values),
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant([float(value) for value in values]),
        name=name,
    )


def _join(outputs: Sequence[Any], chunks: Sequence[Sequence[int]]) -> Any:
    """Concatenate the outputs, with the units in the teacher's order."""
    x = outputs[0] if len(outputs) == 1 else keras.layers.Concatenate(name="chunks")(outputs)
    units = np.concatenate([np.asarray(chunk) for chunk in chunks])
    if np.array_equal(units, np.arange(len(units))):
        return x
    return ops.take(x, np.argsort(units).tolist(), axis=-1)


def _load_students(files: Files, data: Any) -> list[keras.Model | None]:
    """Load the students, and warn about missing ones.

    Returns:
        A model for each file, or `None` if it is missing.

    Raises:
        TypeError: If an element is not a path, a model or `None`.
        ValueError: If all are missing, one cannot be read, or one is missing without `data`.
    """
    advice = " Pass None to replace its chunk by the teacher's mean."
    students = [_load(file, f"student {i}", advice) for i, file in enumerate(files)]
    missing = [number for number, student in enumerate(students) if student is None]
    if len(missing) == len(students):
        raise ValueError(
            "TeacherClass.assemble_from: there must be at least one student. "
            f"Received: files={list(files)!r}"
        )
    if missing and data is None:
        raise ValueError(
            f"TeacherClass.assemble_from: the students {missing} are missing. Pass samples as "
            "`data` to replace their chunks by the teacher's mean. Received: data=None"
        )
    if missing:
        warn_user(
            f"TeacherClass.assemble_from: the students {missing} of {len(students)} are missing; "
            "the teacher's mean replaces their chunks."
        )
    return students


def _load_stem(file: Any) -> keras.Model:
    stem = _load(file, "the stem", "")
    if stem is None:
        raise ValueError(
            "TeacherClass.assemble_from: all students need the stem, and its file does not exist. "
            f"Received: stem={str(file)!r}"
        )
    return stem


def _load(file: Any, what: str, advice: str) -> keras.Model | None:
    """Return a model, or that of a file; `None` if the file does not exist."""
    if isinstance(file, keras.Model):
        require_built(file, what.capitalize())
    if file is None or isinstance(file, keras.Model):
        return file
    if not isinstance(file, (str, os.PathLike)):
        raise TypeError(
            "TeacherClass.assemble_from: `files` must hold paths, models or None, and `stem` must "
            f"be one of these. Received: {what} is {file!r} (of type {type(file).__name__})"
        )
    if not Path(file).exists():
        return None
    try:
        return keras.saving.load_model(file, compile=False)
    except Exception as error:
        raise ValueError(
            f"TeacherClass.assemble_from: {what} cannot be read from '{file}'.{advice} "
            f"The cause: {error}"
        ) from error
