"""Reject models that cannot share a batch, and batches that lack what a model takes."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
from keras import tree

from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.models.inputs import ModelInputs, matched_by_key, model_inputs
from keras_kd.teachers.base import BaseTeacher
from keras_kd.training.tf_data import dense_spec


def inputs_agree(one: ModelInputs | None, other: ModelInputs | None) -> bool:
    """Return whether two models may get the same batch.

    Inputs that are matched by key are compared where both models have the key, since a batch may
    hold the inputs of both; others are compared by position. Unknown inputs match.
    """
    if one is None or other is None:
        return True
    if matched_by_key([one, other]):
        mine, others = one.named_shapes, other.named_shapes
        return all(shapes_agree(mine[key], others[key]) for key in mine.keys() & others.keys())
    return len(one.shapes) == len(other.shapes) and all(map(shapes_agree, one.shapes, other.shapes))


def check_inputs(teacher: BaseTeacher, student: keras.Model) -> None:
    """Reject a teacher that does not accept the student's inputs.

    Raises:
        ValueError: If the shapes of their inputs differ and there is no preprocessing.
    """
    own = model_inputs(student)
    for part in teacher.parts:
        if part.preprocessing is not None or inputs_agree(part.inputs, own):
            continue
        raise ValueError(
            f"Teacher '{part.name}' takes inputs of shape {_describe(part.inputs)} and the "
            f"student '{student.name}' {_describe(own)}. Convert the student's inputs for the "
            "teacher: kd.Teacher(model, preprocessing=...). To pass each model its own inputs, "
            "give them names and pass dict batches."
        )


def find_other_inputs(
    students: Sequence[keras.Model], numbers: Sequence[int] | None = None
) -> str | None:
    """Return how the inputs of a student differ from those of another, or `None`.

    Args:
        students: Students that get the same batch.
        numbers: The number of each. Defaults to their positions.
    """
    numbers = range(len(students)) if numbers is None else numbers
    every = [model_inputs(student) for student in students]
    for (i, one), (k, other) in itertools.combinations(enumerate(every), 2):
        if not inputs_agree(one, other):
            return (
                f"student {numbers[i]} '{students[i].name}' takes {_describe(one)} and student "
                f"{numbers[k]} '{students[k].name}' {_describe(other)}"
            )
    return None


def list_inputs(
    distiller: Any, joined: bool, training: bool = True
) -> list[tuple[str, ModelInputs | None]]:
    """Return the models of a distiller that get its batches unchanged, and their inputs.

    Args:
        distiller: A `BaseDistiller`.
        joined: Whether a cache supplies the teacher outputs, so that no teacher runs.
        training: Whether the batches are augmented, and the teachers run with any loss. Defaults
            to `True`.
    """
    student, augmented = distiller.student, training and distiller.augment is not None
    own = [] if augmented else [(f"The student '{student.name}'", model_inputs(student))]
    idle = joined or (augmented and distiller.same_view)
    idle = idle or not (training or distiller.compiled_loss_fn is None)
    parts = [] if idle else [part for one in distiller.teachers for part in one.parts]
    live = [part for part in parts if part.preprocessing is None]
    return [*own, *((f"Teacher '{part.name}'", part.inputs) for part in live)]


def check_batch(owner: str, inputs: ModelInputs | None, x: Any) -> None:
    """Reject a batch that a model does not accept.

    Args:
        owner: The model, such as "The student 'small'".
        inputs: Its inputs, if they are known.
        x: Specification of a batch.

    Raises:
        ValueError: If a key is missing in a dict batch, a shape differs, or the batch is text and
            the model takes numbers.
    """
    if inputs is not None and inputs.declared:
        _check_not_text(owner, inputs, x)
    parts = None if inputs is None else inputs.parts(x, owner)
    if parts is None:
        return
    wanted = inputs.shapes
    if len(parts) != len(wanted):
        raise ValueError(
            f"{owner} takes {len(wanted)} inputs, {_describe(inputs)}. Received: `x` of "
            f"{len(parts)} arrays"
        )
    for part, shape in zip(parts, wanted, strict=True):
        spec = dense_spec(part)
        if spec is not None:
            _check_shape(owner, spec.shape, shape)


def _check_not_text(owner: str, inputs: ModelInputs, x: Any) -> None:
    takes_text = any(part.dtype == "string" for part in tree.flatten(inputs.structure))
    # Of a dict, other entries than the model's may be text.
    specs = [] if isinstance(x, dict) else [dense_spec(part) for part in tree.flatten(x)]
    if not takes_text and any(spec is not None and spec.dtype == "string" for spec in specs):
        raise ValueError(
            f"{owner} takes numbers, {_describe(inputs)}. Received: `x` of text. Convert it first; "
            "the preprocessor of a KerasHub task does: dataset.map(task.preprocessor), or "
            "fit(task.preprocessor(x), y)."
        )


def _check_shape(owner: str, shape: tuple, own: tuple) -> None:
    # As in Keras, a last axis of size 1 may be missing or extra.
    dropped = shape[:-1] if len(shape) == len(own) + 1 and shape[-1] in (1, None) else shape
    added = (*dropped, 1) if len(shape) == len(own) - 1 and own[-1] == 1 else dropped
    if not shapes_agree(added, own):
        raise ValueError(
            f"{owner} takes inputs of shape {own}. Received: `x` of shape {shape}"
            + ("" if len(shape) == len(own) else "; is it batched?")
        )


def _describe(inputs: ModelInputs) -> str:
    """Return the shapes of inputs, by name if there are several with names."""
    shapes, named = inputs.shapes, inputs.named_shapes
    if len(shapes) == 1 and not isinstance(inputs.structure, dict):
        return str(shapes[0])
    return str(shapes if named is None else named)
