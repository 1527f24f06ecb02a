"""A class of students put side by side: one plain Functional model."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.models.graph import built_inputs
from keras_kd.teacher_class.representation import Representation


def side_by_side(
    students: Sequence[keras.Model | None],
    chunks: Sequence[Sequence[int]],
    representation: Representation,
    head: str | keras.layers.Layer | None,
    means: np.ndarray | None = None,
    name: str = "teacher_class",
) -> keras.Model:
    """Puts students in parallel on one input, and a head on top of them.

    Args:
        students: One for each chunk, or `None` for one that is lost.
        chunks: The units of each chunk.
        representation: What they mimic.
        head: `"teacher"` for a copy of the teacher's, a Keras layer or model, or `None`.
        means: Of each unit, its mean, where a student is lost. Defaults to `None`.
        name: Name of the model. Defaults to `"teacher_class"`.

    Returns:
        A Functional `keras.Model`; it holds the students themselves and nothing of the teacher.

    Raises:
        TypeError: When `head` is none of these.
        ValueError: When the teacher's head does not answer as the teacher.
    """
    if head != "teacher" and not isinstance(head, (keras.layers.Layer, type(None))):
        raise TypeError(
            "TeacherClass: `head` must be 'teacher', a Keras layer or model, or None. "
            f"Received: head={head!r}"
        )
    inputs = built_inputs(next(student for student in students if student is not None))
    teacher_outputs = [
        None if student is None else _branch(student, f"student_{i}")(inputs)
        for i, student in enumerate(students)
    ]
    some = next(output for output in teacher_outputs if output is not None)
    for i, output in enumerate(teacher_outputs):
        if output is None:
            teacher_outputs[i] = _constant(means[list(chunks[i])], f"mean_{i}")(some)
    x = _in_order(teacher_outputs, chunks)
    activation = representation.activation()
    x = x if activation is None else activation(x)
    if head == "teacher":
        head = representation.head()
    return keras.Model(inputs, x if head is None else head(x), name=name)


def _branch(student: keras.Model, name: str) -> keras.Model:
    """The student under a name of its own: two may be called the same."""
    inputs = built_inputs(student)
    return keras.Model(inputs, student(inputs), name=name)


def _constant(values: np.ndarray, name: str) -> keras.layers.Layer:
    """A layer of Keras that gives these values whatever it is given, and can be exported."""
    return keras.layers.Dense(
        len(values),
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant([float(value) for value in values]),
        name=name,
    )


def _in_order(teacher_outputs: Sequence[Any], chunks: Sequence[Sequence[int]]) -> Any:
    """The outputs as one, its units in the teacher's order."""
    x = (
        teacher_outputs[0]
        if len(teacher_outputs) == 1
        else keras.layers.Concatenate(name="chunks")(teacher_outputs)
    )
    units = np.concatenate([np.asarray(chunk) for chunk in chunks])
    if np.array_equal(units, np.arange(len(units))):
        return x
    return ops.take(x, np.argsort(units).tolist(), axis=-1)
