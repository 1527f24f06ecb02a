"""What a data set's inputs are like, and whether they are single samples or batches."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from keras import tree

from keras_kd.cache.keys import require_dense
from keras_kd.teachers.knowledge import CacheError
from keras_kd.teachers.teacher import Teacher

Inputs = tuple[tuple[tuple[int | None, ...], str], ...]


def described(x: Any, batched: bool) -> Inputs:
    """Shape and type of each part of one sample.

    Args:
        x: Specification of the inputs.
        batched: Whether it is that of batches.
    """
    parts = tree.flatten(x)
    return tuple((tuple(part.shape)[1 if batched else 0 :], part.dtype.name) for part in parts)


def is_batched(x: Any, inputs: Inputs, what: str) -> bool:
    """Whether inputs are batches of some samples, or these samples one by one.

    Args:
        x: Specification of the inputs.
        inputs: What one sample is like.
        what: What messages begin with.

    Raises:
        CacheError: When they are neither.
    """
    require_dense(x, what)
    several = all(part.shape.rank for part in tree.flatten(x))
    if several and _agree(described(x, batched=True), inputs):
        return True
    if _agree(described(x, batched=False), inputs):
        return False
    raise CacheError(
        f"{what}: the inputs of one sample must be {_in_words(inputs)}, as they were when the "
        f"teachers saw them, or batches of them. Received: {_in_words(described(x, False))}"
    )


def teachers_take_batches(teachers: Sequence[Teacher], x: Any) -> bool:
    """Whether a data set's inputs are batches for the teachers, or single samples.

    Args:
        teachers: The teachers.
        x: Specification of the inputs.

    Raises:
        CacheError: When the teachers can take neither.
    """
    require_dense(x, "KnowledgeCache.build")
    if _taken(teachers[0], x):
        return True
    if _taken(teachers[0], tree.map_structure(_one_more, x)):
        return False
    received = ", ".join(f"{part.dtype.name} {tuple(part.shape)}" for part in tree.flatten(x))
    raise CacheError(
        f"KnowledgeCache.build: teacher '{teachers[0].name}' takes batches of shape "
        f"{teachers[0].input_shapes}, and the data set must give x, (x, y) or (x, y, "
        f"sample_weight) with such x, single or in batches. Received: x of {received}"
    )


def _one_more(spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec((None, *spec.shape), spec.dtype)


def _taken(teacher: Teacher, x: Any) -> bool:
    """Whether a teacher takes such a batch, through its preprocessing."""
    if teacher.preprocessing is not None:
        try:
            x = tf.function(teacher.preprocessing).get_concrete_function(x).structured_outputs
        except (ValueError, TypeError, IndexError):
            return False  # Written for batches, and given single samples.
    parts, shapes = tree.flatten(x), teacher.input_shapes
    if shapes is None:
        return all(part.shape.rank and part.shape[0] is None for part in parts)
    return len(parts) == len(shapes) and all(
        part.shape.is_compatible_with((None, *shape[1:]))
        for part, shape in zip(parts, shapes, strict=True)
    )


def _agree(one: Inputs, other: Inputs) -> bool:
    return len(one) == len(other) and all(
        a[1] == b[1] and tf.TensorShape(a[0]).is_compatible_with(b[0])
        for a, b in zip(one, other, strict=True)
    )


def _in_words(inputs: Sequence[tuple[tuple, str]]) -> str:
    return ", ".join(f"{dtype} {shape}" for shape, dtype in inputs)
