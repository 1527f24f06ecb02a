"""The students of a Teacher-Class Network: build one per chunk, and check that they fit."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import tree

from keras_kd.distillers.shared_inputs import check_inputs, find_other_inputs
from keras_kd.distillers.student_methods import warn_about_own_steps
from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.models.graph import built_inputs, require_built
from keras_kd.teacher_class.chunks import as_integers
from keras_kd.teacher_class.representation import Representation
from keras_kd.teachers.shared_weights import check_shared_weights

Models = Sequence[keras.Model] | Callable[[int], keras.Model]


def student_numbers(only: Sequence[int] | None, n: int) -> list[int]:
    """Return the numbers of the students to train, of `n`; all of them if `only` is `None`.

    Raises:
        ValueError: If a number is unknown or repeated.
    """
    numbers = list(range(n)) if only is None else as_integers(only)
    if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(n)):
        raise ValueError(
            f"TeacherClass: `only` must be numbers of students, from 0 to {n - 1}, each once. "
            f"Received: only={only!r}"
        )
    return numbers


def require_list_or_builder(models: Any, what: str) -> None:
    """Reject anything but a list or a builder; a model is callable but not a builder.

    Raises:
        TypeError: If it is neither.
    """
    builds = callable(models) and not isinstance(models, keras.layers.Layer)
    if not builds and not isinstance(models, (list, tuple)):
        raise TypeError(
            f"TeacherClass: `{what}` must be a list of built models, or a function of the chunk's "
            f"size that builds one. Received: {models!r} (of type {type(models).__name__})"
        )


def build_students(
    representation: Representation | None,
    students: Models,
    chunks: Sequence[Sequence[int]],
    numbers: Sequence[int],
    on_stem: bool = False,
) -> list[keras.Model]:
    """Build the students, and check them against each other, their chunks and the teacher.

    Args:
        representation: The representation, or `None` if it is not known yet.
        students: The students, or their builder.
        chunks: The units of each chunk.
        numbers: The numbers of the students.
        on_stem: Whether the students take the output of a stem and not the teacher's inputs.
            Defaults to `False`.

    Raises:
        TypeError: If `students`, or one of them, has the wrong type.
        ValueError: If they do not fit.
    """
    models = build_models(students, [len(chunk) for chunk in chunks], numbers, "students")
    _require_same_inputs(models, numbers)
    for model in models:
        warn_about_own_steps(model, "TeacherClass")
    if representation is not None:
        require_fit(representation, models, numbers, chunks, on_stem)
    return models


def build_models(
    models: Models, sizes: Sequence[int], numbers: Sequence[int], what: str
) -> list[keras.Model]:
    """Build one model per chunk.

    Raises:
        TypeError: If `models`, or one of them, has the wrong type.
        ValueError: If there are too few or too many, one is not built, or two share weights.
    """
    require_list_or_builder(models, what)
    if isinstance(models, (list, tuple)):
        if len(models) not in (len(sizes), len(numbers)):
            raise ValueError(
                f"TeacherClass: there must be as many {what} as chunks, {len(sizes)}. "
                f"Received: {len(models)}"
            )
        chosen = [models[i] for i in numbers] if len(models) == len(sizes) else list(models)
    else:
        # Builds all, so that each draws the same random numbers as in joint training.
        built = [models(size) for size in sizes]
        chosen = [built[i] for i in numbers]
    for i, model in zip(numbers, chosen, strict=True):
        require_built(model, f"Number {i} of the {what}")
    _require_own_weights(chosen, numbers, what)
    return chosen


def _require_own_weights(models: Sequence[keras.Model], numbers: Sequence[int], what: str) -> None:
    owners = {}
    for i, model in zip(numbers, models, strict=True):
        for weight in model.weights:
            other = owners.setdefault(id(weight), i)
            if other != i:
                raise ValueError(
                    f"TeacherClass: the {what} must not share weights, so that each can be trained "
                    f"and deployed separately. Received: numbers {other} and {i} share "
                    f"'{weight.path}'. Build each of them separately"
                )


def require_fit(
    representation: Representation,
    students: Sequence[keras.Model],
    numbers: Sequence[int],
    chunks: Sequence[Sequence[int]],
    on_stem: bool,
) -> None:
    """Reject students that share layers with the teacher, take other inputs or miss their chunks.

    Raises:
        ValueError: If one does not fit.
    """
    for number, student in zip(numbers, students, strict=True):
        if not on_stem:
            check_inputs(representation.teacher, student)
        check_shared_weights(representation.teacher, student)
        require_chunk_shape(student, number, representation, chunks[number])


def require_chunk_shape(
    student: keras.Model, number: int, representation: Representation, chunk: Sequence[int]
) -> None:
    """Reject a student without exactly one output of its chunk's shape.

    Raises:
        ValueError: If the shape differs, or there are several outputs.
    """
    target = (*representation.shape[:-1], len(chunk))
    found = output_shapes(student)
    if len(found) != 1 or not shapes_agree(found[0], target):
        received = found[0] if len(found) == 1 else found
        raise ValueError(
            f"TeacherClass: student {number} ('{student.name}') must have one output of its "
            f"chunk's shape, {target}. Received: {received}"
        )


def _require_same_inputs(students: Sequence[keras.Model], numbers: Sequence[int]) -> None:
    difference = find_other_inputs(students, numbers)
    if difference is not None:
        raise ValueError(
            f"TeacherClass: all students must have the same inputs. Received: {difference}"
        )


def require_separable(optimizers: Sequence[keras.optimizers.Optimizer]) -> None:
    """Reject an optimizer whose update of one student depends on the others.

    Raises:
        ValueError: If one has a `global_clipnorm`.
    """
    for optimizer in optimizers:
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if (optimizer.inner_optimizer if scaled else optimizer).global_clipnorm:
            raise ValueError(
                "TeacherClass: `global_clipnorm` clips by the norm over all students, so each "
                "update would depend on the other students. Use `clipnorm`, which clips each "
                "weight separately."
            )


def output_shapes(model: keras.Model) -> list[tuple]:
    """Return the flat list of a model's output shapes."""
    return [tuple(tensor.shape) for tensor in tree.flatten(model(built_inputs(model)))]
