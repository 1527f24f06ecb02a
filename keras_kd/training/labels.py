"""Class indices from labels of any form."""

from typing import Any

import keras
from keras import ops

#: The class index of a sample without a label.
UNLABELED = -1


def class_indices(labels: Any, shape: tuple[int | None, ...]) -> Any:
    """Return the class index of each label.

    Args:
        labels: Integers (batch, ...) or (batch, ..., 1), or one-hot (batch, ..., classes).
        shape: Shape of the logits that they belong to: (batch, ..., classes).

    Returns:
        int32 tensor (batch, ...): `UNLABELED` for NaN, and where a one-hot row is NaN or zero.

    Raises:
        ValueError: If the labels do not match the logits.
    """
    labels = ops.convert_to_tensor(labels)
    if keras.backend.standardize_dtype(labels.dtype) == "bool":
        labels = ops.cast(labels, "int32")
    rank = len(shape)
    if len(labels.shape) == rank and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if len(labels.shape) == rank and labels.shape[-1] == shape[-1]:
        # Comparisons with NaN are false, so such a row has no label either.
        labeled = ops.any(labels > 0, axis=-1)
        return ops.where(labeled, ops.cast(ops.argmax(labels, axis=-1), "int32"), UNLABELED)
    if len(labels.shape) != rank - 1:
        raise ValueError(
            "Labels must be integers (batch, ...) or one-hot (batch, ..., classes) for logits of "
            f"shape {tuple(shape)}. Received: labels of shape {tuple(labels.shape)}"
        )
    return ops.cast(replace_missing(labels, UNLABELED), "int32")


def replace_missing(labels: Any, value: float) -> Any:
    """Replace NaN, which means "no label", in labels that are floats."""
    if "float" not in keras.backend.standardize_dtype(labels.dtype):
        return labels
    return ops.where(ops.isnan(labels), ops.cast(value, labels.dtype), labels)
