"""The stem: a model whose output all students of a Teacher-Class Network receive."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.distillers.shared_inputs import check_inputs
from keras_kd.distillers.student_methods import warn_about_own_steps
from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.models.graph import input_shapes, require_built
from keras_kd.teacher_class.students import output_shapes
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.shared_weights import check_shared_weights


def require_stem(
    stem: Any, students: Sequence[keras.Model], numbers: Sequence[int], n: int
) -> keras.Model | None:
    """Return the stem of some of `n` students, `None` without.

    Raises:
        TypeError: If it is not a model.
        ValueError: If it is not built, does not have the one output that the students take, or
            shares weights with one; or if a student is missing.
    """
    if stem is None:
        return None
    if not isinstance(stem, keras.Model):
        raise TypeError(
            "TeacherClass: `stem` must be a built model, or None. "
            f"Received: stem={stem!r} (of type {type(stem).__name__})"
        )
    require_built(stem, "The stem")
    warn_about_own_steps(stem, "TeacherClass")
    if len(numbers) < n:
        raise ValueError(
            "TeacherClass: the stem learns from all students, so they cannot be trained "
            "separately. Omit `only`, or omit `stem`. Received: "
            f"only={list(numbers)}, of {n} students"
        )
    own = {id(weight) for weight in stem.weights}
    for number, student in zip(numbers, students, strict=True):
        require_stem_output(stem, student, number)
        shared = [weight.path for weight in student.weights if id(weight) in own]
        if shared:
            raise ValueError(
                f"TeacherClass: student {number} ('{student.name}') must not share weights with "
                f"the stem, whose output it takes. Received: shared weights {shared}"
            )
    return stem


def require_stem_output(stem: keras.Model, student: keras.Model, number: int) -> None:
    """Reject a student that does not take the one output of the stem.

    Raises:
        ValueError: If the shapes differ, or there are several.
    """
    outputs, inputs = output_shapes(stem), input_shapes(student)
    fits = inputs is None or (len(inputs) == 1 and shapes_agree(inputs[0], outputs[0]))
    if len(outputs) != 1 or not fits:
        raise ValueError(
            f"TeacherClass: student {number} ('{student.name}') must take the output of the stem "
            f"as its one input. Received: the stem returns {outputs}, the student takes {inputs}"
        )


def check_stem(teacher: BaseTeacher, stem: keras.Model) -> None:
    """Reject a stem that takes other inputs than the teacher, or trains its layers.

    Raises:
        ValueError: If it does not fit.
    """
    check_inputs(teacher, stem)
    check_shared_weights(teacher, stem)
