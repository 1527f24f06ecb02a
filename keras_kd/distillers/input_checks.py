"""Reject batches that do not match the student, before training starts.

Keys and shapes are known for arrays and for a `tf.data.Dataset`; the shapes of labels are checked
for students with one output. Keras checks the rest.
"""

from collections.abc import Sequence
from typing import Any

from keras import tree

from keras_kd.distillers.shared_inputs import check_batch
from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.models.inputs import ModelInputs
from keras_kd.teachers.knowledge import unpack_batch
from keras_kd.training.tf_data import (
    DenseSpec,
    array_specs,
    dense_spec,
    element_parts,
    is_dataset,
)


def check_batches(
    data: tuple[Any, Any, Any],
    models: Sequence[tuple[str, ModelInputs | None]],
    labeled: bool,
    shapes: dict[str, tuple],
    sparse: bool,
) -> None:
    """Reject data that the student cannot be trained on.

    Args:
        data: `x`, `y` and `sample_weight` as passed to `fit`.
        models: The models that get `x` itself, such as "The student 'small'", and their inputs.
        labeled: Whether a loss on labels is compiled.
        shapes: Shape of each output of the student, by name.
        sparse: Whether the labels are class indices.

    Raises:
        TypeError: If labels are strings.
        ValueError: If labels are missing, or a shape does not match.
    """
    found = batch_specs(*data)
    if found is None:
        return
    x, y, weights = found
    for owner, inputs in models:
        check_batch(owner, inputs, x)
    labels = dense_spec(y)
    if labels is not None and labels.dtype == "string":
        raise TypeError(
            "Labels must be numbers: class indices or one-hot. Received: `y` of strings. "
            "Convert names to indices with keras.layers.StringLookup."
        )
    if not labeled:
        return
    if y is None:
        raise ValueError(
            "A loss is compiled, so labels are required: fit(x, y), or a data set of (x, y). "
            "Received: y=None. To train on the teachers alone, compile with loss=None."
        )
    if len(shapes) == 1 and labels is not None:
        ((name, shape),) = shapes.items()
        _check_labels(labels, name, shape, sparse)
        _check_weights(dense_spec(weights), shape)


def _check_labels(y: DenseSpec, name: str, shape: tuple, sparse: bool) -> None:
    column = len(y.shape) == len(shape) and y.shape[-1] in (1, None)
    if sparse and len(y.shape) != len(shape) - 1 and not column:
        raise ValueError(
            f"The loss expects class indices, labels of shape {tuple(shape[:-1])}, for the "
            f"output '{name}' of shape {tuple(shape)}. Received: labels of shape "
            f"{y.shape}. For one-hot labels use keras.losses.CategoricalCrossentropy."
        )


def _check_weights(weights: DenseSpec | None, shape: tuple) -> None:
    if weights is None:
        return
    positions, own = tuple(shape[:-1]), weights.shape
    column = len(own) == 2 and own[-1] in (1, None)
    if len(own) != 1 and not shapes_agree(own, positions) and not column:
        raise ValueError(
            "`sample_weight` must have one number per sample, shape (batch,), or per position of "
            f"the labels, shape {positions}. Received: shape {own}"
        )


def batch_specs(x: Any, y: Any, weights: Any = None) -> tuple[Any, Any, Any] | None:
    """Return the specification of a batch, or `None` if only reading one would tell."""
    if not is_dataset(x):
        return array_specs(unpack_batch(x)[0], y, weights)
    x, y, weights = element_parts(x)
    return unpack_batch(x)[0], y, weights


def has_single_samples(x: Any, batch_size: int | None) -> bool:
    """Whether the batches of a `fit` are known to have one sample each."""
    if is_dataset(x):
        first = tree.flatten(x.element_spec)[0].shape
        return bool(first.rank) and first[0] == 1
    return batch_size == 1
