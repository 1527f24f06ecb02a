"""Reject batches that do not match the student, before training starts.

Keys and shapes are known for arrays and for a `tf.data.Dataset`. Labels of other data are checked
in the first step.
"""

from collections.abc import Sequence
from typing import Any

from keras import tree

from keras_kd.distillers.shared_inputs import check_batch
from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.models.inputs import ModelInputs
from keras_kd.teachers.knowledge import unpack_batch
from keras_kd.training.labels import LabelReader
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
    labels: LabelReader | None,
) -> None:
    """Reject data that the student cannot be trained on.

    Args:
        data: `x`, `y` and `sample_weight` as passed to `fit`.
        models: The models that get `x` itself, such as "The student 'small'", and their inputs.
        labels: Reads the labels; `None` if no loss on labels is compiled.

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
    if any(spec.dtype == "string" for spec in map(dense_spec, tree.flatten(y)) if spec is not None):
        raise TypeError(
            "Labels must be numbers: class indices or one-hot. Received: `y` of strings. "
            "Convert names to indices with keras.layers.StringLookup."
        )
    if labels is None:
        return
    if y is None:
        raise ValueError(
            "A loss is compiled, so labels are required: fit(x, y), or a data set of (x, y). "
            "Received: y=None. To train on the teachers alone, compile with loss=None."
        )
    labels.require_shapes(y)
    if len(labels.names) == 1 and dense_spec(y) is not None:
        _check_weights(dense_spec(weights), labels.outputs[labels.names[0]].shape)


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
