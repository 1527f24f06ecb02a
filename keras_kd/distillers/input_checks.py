"""Batches that do not fit the student: refused before anything is trained, in words.

Looked at where the shapes are known: in arrays and in a `tf.data.Dataset`, for students of one
input and one output. The rest is left to Keras.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_kd.models.graph import input_shapes
from keras_kd.teachers.knowledge import unpack_batch


def check_batches(
    data: tuple[Any, Any, Any],
    student: keras.Model | None,
    labelled: bool,
    shapes: dict[str, tuple],
    sparse: bool,
) -> None:
    """Refuses data that the student cannot learn from.

    Args:
        data: `x`, `y` and `sample_weight` as `fit` got them.
        student: The student, `None` where it sees something else than x.
        labelled: Whether a loss on labels is compiled.
        shapes: Shape of each output of the student, by name.
        sparse: Whether the loss takes indices of classes.

    Raises:
        TypeError: When labels are text.
        ValueError: When labels are missing, or a shape does not fit.
    """
    found = specs(*data)
    if found is None:
        return
    x, y, weights = found
    if student is not None:
        _check_inputs(student, x)
    if isinstance(y, tf.TensorSpec) and y.dtype == tf.string:
        raise TypeError(
            "Labels must be numbers: indices of classes, or one-hot. Received: `y` of text. "
            "keras.layers.StringLookup turns names into indices."
        )
    if not labelled:
        return
    if y is None:
        raise ValueError(
            "A loss is compiled, so there must be labels: fit(x, y), or a data set of (x, y). "
            "Received: y=None. To learn from teachers alone, compile with loss=None."
        )
    if len(shapes) == 1 and isinstance(y, tf.TensorSpec):
        ((name, shape),) = shapes.items()
        _check_labels(y, name, shape, sparse)
        _check_weights(weights, shape)


def _check_labels(y: tf.TensorSpec, name: str, shape: tuple, sparse: bool) -> None:
    column = y.shape.rank == len(shape) and y.shape[-1] in (1, None)
    if sparse and y.shape.rank not in (None, len(shape) - 1) and not column:
        raise ValueError(
            f"The loss takes indices of classes, labels of shape {tuple(shape[:-1])}, for the "
            f"output '{name}' of shape {tuple(shape)}. Received: labels of shape "
            f"{tuple(y.shape)}. For one-hot labels there is keras.losses.CategoricalCrossentropy."
        )


def _check_inputs(student: keras.Model, x: Any) -> None:
    wanted = input_shapes(student)
    if not isinstance(x, tf.TensorSpec) or wanted is None or len(wanted) != 1:
        return
    own, shape = wanted[0], x.shape
    if shape.rank is None:
        return
    # As Keras has it: a last axis of 1 may be missing, or be too many.
    dropped = shape[:-1] if shape.rank == len(own) + 1 and shape[-1] in (1, None) else shape
    added = dropped.concatenate([1]) if shape.rank == len(own) - 1 and own[-1] == 1 else dropped
    if not added[1:].is_compatible_with(tf.TensorShape(own)[1:]):
        raise ValueError(
            f"The student '{student.name}' takes inputs of shape {own}. Received: `x` of shape "
            f"{tuple(shape)}" + ("" if shape.rank == len(own) else "; is it batched?")
        )


def _check_weights(weights: Any, shape: tuple) -> None:
    if not isinstance(weights, tf.TensorSpec) or weights.shape.rank is None:
        return
    places = tf.TensorShape(shape[:-1])
    rank = weights.shape.rank
    alike = rank == places.rank and weights.shape[1:].is_compatible_with(places[1:])
    column = rank == 2 and weights.shape[-1] in (1, None)
    if rank != 1 and not alike and not column:
        raise ValueError(
            "`sample_weight` must have one number for each sample, shape (batch,), or for each "
            f"place of the labels, shape {tuple(places)}. Received: shape {tuple(weights.shape)}"
        )


def specs(x: Any, y: Any, weights: Any = None) -> tuple[Any, Any, Any] | None:
    """What a batch is made of, `None` where only reading one would tell."""
    if isinstance(x, tf.data.Dataset):
        spec = x.element_spec
        parts = spec if type(spec) is tuple else (spec,)
        x, y, weights = (*parts, None, None)[:3]
        return unpack_batch(x)[0], y, weights
    known = (np.ndarray, tf.Tensor)
    parts = [part for part in tree.flatten((x, y, weights)) if part is not None]
    if not parts or not all(isinstance(part, known) for part in parts):
        return None
    return tuple(
        None if part is None else tree.map_structure(_spec, part) for part in (x, y, weights)
    )


def _spec(array: Any) -> tf.TensorSpec:
    text = isinstance(array, np.ndarray) and array.dtype.kind in "USO"
    return tf.TensorSpec((None, *array.shape[1:]), tf.string if text else array.dtype)
