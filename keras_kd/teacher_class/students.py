"""The models of a class: built one for each chunk, and checked against it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import tree

from keras_kd.distillers.objective import check_inputs
from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.models.graph import built_inputs, input_shapes, require_built
from keras_kd.teacher_class.chunks import whole_numbers
from keras_kd.teacher_class.representation import Representation


def numbers_of(only: Sequence[int] | None, n: int) -> list[int]:
    """The numbers of the students that are wanted, of a class of `n`; `None` for all.

    Raises:
        ValueError: When one is unknown or comes twice.
    """
    numbers = list(range(n)) if only is None else whole_numbers(only)
    if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(n)):
        raise ValueError(
            f"TeacherClass: `only` must be numbers of students, from 0 to {n - 1}, each once. "
            f"Received: only={only!r}"
        )
    return numbers


def require_list_or_builder(given: Any, what: str) -> None:
    """Refuses what is neither a list nor a builder; a model is callable and no builder.

    Raises:
        TypeError: When it is neither.
    """
    builds = callable(given) and not isinstance(given, keras.layers.Layer)
    if not builds and not isinstance(given, (list, tuple)):
        raise TypeError(
            f"TeacherClass: `{what}` must be a list of built models, or a function of the chunk's "
            f"size that builds one. Received: {given!r} (of type {type(given).__name__})"
        )


def members_of(
    representation: Representation | None,
    students: Sequence[keras.Model] | Callable[[int], keras.Model],
    chunks: Sequence[Sequence[int]],
    numbers: Sequence[int],
) -> list[keras.Model]:
    """The students of a class, checked against each other, their chunks and the teacher.

    Args:
        representation: What they mimic, or `None` where there is no teacher yet.
        students: A model for each chunk (or for each of `numbers`), or a builder f(size) -> model.
        chunks: The units of every chunk of the class.
        numbers: Numbers of the students that are wanted.

    Returns:
        A model for each of `numbers`.

    Raises:
        TypeError: When `students` or one of them is no such thing.
        ValueError: When they do not fit.
    """
    models = models_for(students, [len(chunk) for chunk in chunks], numbers, "students")
    require_same_inputs(models, numbers)
    if representation is not None:
        require_class(representation, models, numbers, chunks)
    return models


def models_for(
    given: Sequence[keras.Model] | Callable[[int], keras.Model],
    sizes: Sequence[int],
    only: Sequence[int],
    what: str,
) -> list[keras.Model]:
    """The models of the chunks that are wanted.

    Args:
        given: A model for each chunk (or for each of `only`), or a builder f(size) -> model.
        sizes: The size of each chunk.
        only: The numbers of the chunks that are wanted.
        what: What they are called in messages, in the plural.

    Returns:
        A model for each of `only`.

    Raises:
        TypeError: When `given` or one of the models is no such thing.
        ValueError: When there are too few or too many, one is not built, or two share weights.
    """
    require_list_or_builder(given, what)
    if isinstance(given, (list, tuple)):
        if len(given) not in (len(sizes), len(only)):
            raise ValueError(
                f"TeacherClass: there must be as many {what} as chunks, {len(sizes)}. "
                f"Received: {len(given)}"
            )
        found = [given[i] for i in only] if len(given) == len(sizes) else list(given)
    else:
        # All are built, also for `only` one: each draws the random numbers that it does in a class.
        every = [given(size) for size in sizes]
        found = [every[i] for i in only]
    for i, model in zip(only, found, strict=True):
        require_built(model, f"Number {i} of the {what}")
    _require_apart(found, only, what)
    return found


def _require_apart(models: Sequence[keras.Model], only: Sequence[int], what: str) -> None:
    owners = {}
    for i, model in zip(only, models, strict=True):
        for weight in model.weights:
            other = owners.setdefault(id(weight), i)
            if other != i:
                raise ValueError(
                    f"TeacherClass: each of the {what} must have weights of its own, so that it "
                    "can be trained and shipped apart. Received: numbers "
                    f"{other} and {i} share '{weight.path}'. Build each anew"
                )


def require_fit(student: keras.Model, number: int, target: tuple) -> None:
    """Refuses a student whose output is not of its chunk's shape.

    Args:
        student: The student.
        number: Its number.
        target: The chunk's shape, batch first.

    Raises:
        ValueError: When it is not, or there are several outputs.
    """
    found = output_shapes(student)
    if len(found) != 1 or not shapes_agree(found[0], target):
        received = found[0] if len(found) == 1 else found
        raise ValueError(
            f"TeacherClass: student {number} ('{student.name}') must have one output of its "
            f"chunk's shape, {target}. Received: {received}"
        )


def require_same_inputs(students: Sequence[keras.Model], only: Sequence[int]) -> None:
    """Refuses students that do not take the same inputs: they are to stand side by side.

    Raises:
        ValueError: When one differs from the first.
    """
    first = input_shapes(students[0])
    for i, student in zip(only, students, strict=True):
        own = input_shapes(student)
        fits = own is None or first is None or len(own) == len(first)
        if not fits or not all(map(shapes_agree, own or (), first or ())):
            raise ValueError(
                f"TeacherClass: all students must take the same inputs. Received: student "
                f"{only[0]} takes {first} and student {i} ('{student.name}') {own}"
            )


def require_class(
    representation: Representation,
    students: Sequence[keras.Model],
    numbers: Sequence[int],
    chunks: Sequence[Sequence[int]],
) -> None:
    """Refuses students that do not take what the teacher takes, or do not fit their chunks.

    Args:
        representation: What they mimic.
        students: The students.
        numbers: Number of each.
        chunks: The units of every chunk of the class.

    Raises:
        ValueError: When one does not fit.
    """
    for number, student in zip(numbers, students, strict=True):
        check_inputs(representation.teacher, student)
        require_fit(student, number, (*representation.shape[:-1], len(chunks[number])))


def require_separable(optimizers: Sequence[keras.optimizers.Optimizer]) -> None:
    """Refuses an optimizer whose step for one student depends on the others.

    Raises:
        ValueError: When one has a `global_clipnorm`.
    """
    for optimizer in optimizers:
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if (optimizer.inner_optimizer if scaled else optimizer).global_clipnorm:
            raise ValueError(
                "TeacherClass: `global_clipnorm` takes one norm over all the students, so that "
                "each would depend on the others. Use `clipnorm`, which clips each weight apart."
            )


def output_shapes(model: keras.Model) -> list[tuple]:
    """Shapes of a model's outputs, flat."""
    return [tuple(tensor.shape) for tensor in tree.flatten(model(built_inputs(model)))]
