"""How far outputs are from the labels, per sample, for each task."""

from typing import Any

from keras import ops

from keras_kd.models.keras_compat import get_mask, set_mask
from keras_kd.training.labels import class_indices


def label_error(task: str, logits: Any, labels: Any) -> tuple[Any, Any]:
    """Return the error of outputs on the labels, and which samples have a label.

    Args:
        task: `"classes"` (the cross-entropy), `"binary"` or `"labels"` (the binary cross-entropy),
            or `"values"` (the squared error).
        logits: (batch, ..., units): logits, or values. Steps that its Keras mask hides do not
            count.
        labels: As for `DistillationLoss`: for classes integers or one-hot, else in the shape of
            the outputs, or without the axis of a single unit.

    Returns:
        (batch,), the mean over the labeled positions and units, 0 for a sample without labels; and
        a boolean (batch,).
    """
    if task == "classes":
        mask, several = get_mask(logits), ops.expand_dims(logits, 0)
        if mask is not None:
            several = set_mask(several, ops.expand_dims(mask, 0))
        values, known = class_error(several, labels)
        return values[0], known
    labels, numbers = number_labels(labels, logits, "The error on the labels")
    # -1 is a number only for a regression.
    known = numbers if task == "values" else labels >= 0
    target = ops.where(known, labels, ops.zeros_like(labels))
    if task == "values":
        values = ops.square(logits - target)
    else:
        values = ops.softplus(logits) - target * logits
    counted, mask = ops.cast(known, logits.dtype), get_mask(logits)
    if mask is not None:
        kept = ops.reshape(mask, (*ops.shape(mask), *[1] * (len(logits.shape) - len(mask.shape))))
        counted = counted * ops.cast(kept, logits.dtype)
        values = ops.where(kept, values, ops.zeros_like(values))
    axes = tuple(range(1, len(logits.shape)))
    total = ops.sum(counted, axis=axes)
    return ops.sum(values * counted, axis=axes) / ops.maximum(total, 1), total > 0


def number_labels(labels: Any, outputs: Any, owner: str) -> tuple[Any, Any]:
    """Return the labels of a regression in the shape of its outputs, and which are not missing.

    Args:
        labels: In the shape of the outputs, or without the axis of a single unit. NaN stands for a
            missing one.
        outputs: (batch, ..., units).
        owner: Name of the loss that needs them, for the message.

    Raises:
        ValueError: If the shapes differ.
    """
    labels = ops.cast(labels, outputs.dtype)
    if len(labels.shape) == len(outputs.shape) - 1 and outputs.shape[-1] == 1:
        labels = ops.expand_dims(labels, -1)
    if len(labels.shape) != len(outputs.shape) or labels.shape[-1] != outputs.shape[-1]:
        raise ValueError(
            f"{owner} needs labels of the shape of the outputs, {tuple(outputs.shape)}. "
            f"Received: labels of shape {tuple(labels.shape)}"
        )
    return labels, ops.logical_not(ops.isnan(labels))


def class_error(logits: Any, labels: Any) -> tuple[Any, Any]:
    """Return the cross-entropy of several models on the labels, and which samples have one.

    Args:
        logits: (models, batch, ..., classes).
        labels: Integers (batch, ...) or one-hot (batch, ..., classes).

    Returns:
        (models, batch) in nats, averaged over the labeled positions, and a boolean (batch,).
    """
    target = class_indices(labels, logits.shape[1:])
    known = ops.logical_and(target >= 0, target < logits.shape[-1])
    one_hot = ops.one_hot(ops.where(known, target, 0), logits.shape[-1], dtype=logits.dtype)
    values = -ops.sum(ops.log_softmax(logits, axis=-1) * one_hot, axis=-1)
    axes = tuple(range(2, len(values.shape)))
    counted, mask = ops.cast(ops.expand_dims(known, 0), logits.dtype), get_mask(logits)
    if not axes:
        return values * counted, known
    if mask is not None:
        counted = counted * ops.cast(mask, logits.dtype)
    positions = ops.sum(counted, axis=axes)
    sums = ops.sum(values * counted, axis=axes)
    return sums / ops.maximum(positions, 1), ops.any(positions > 0, axis=0)
