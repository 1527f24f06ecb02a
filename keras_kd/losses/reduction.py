"""Reduce the values of a loss, per sample or per position, with masks and sample weights."""

from typing import Any

from keras import ops

from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.models.keras_compat import get_mask


def mean_over_samples(values: Any, weights: Any = None) -> Any:
    """Compute the mean over the samples of value times weight; 0 for an empty batch.

    Args:
        values: As for `mean_per_sample`.
        weights: As for `mean_per_sample`. Defaults to `None`.

    Returns:
        A scalar.
    """
    values = mean_per_sample(values, weights)
    samples = ops.shape(values)[0]
    # The reciprocal has no gradient, unlike a division by the number of samples.
    if isinstance(samples, int):
        return ops.sum(values) * (1 / max(samples, 1))
    return ops.sum(values) * ops.divide_no_nan(1.0, ops.cast(samples, values.dtype))


def mean_per_sample(values: Any, weights: Any = None) -> Any:
    """Compute the mean of value times weight over the positions of each sample.

    Masked steps are ignored, whatever they contain.

    Args:
        values: What a loss returns: (batch,), or (batch, ...) with a value per position, and with a
            Keras mask if steps are masked. A list, of a loss with several pairs of taps, counts as
            the mean of its elements.
        weights: Sample weights, (batch, ...), or `None`. If their shape is that of the positions
            (or of the first axes of them), they weigh each position; otherwise each sample has the
            mean of its weights. Defaults to `None`.

    Returns:
        (batch,); 0 for a sample whose steps are all masked.
    """
    if isinstance(values, (list, tuple)):
        parts = [mean_per_sample(part, weights) for part in values]
        return parts[0] if len(parts) == 1 else ops.mean(ops.stack(parts), axis=0)
    mask = get_mask(values)
    if weights is not None:
        weights = ops.cast(weights, values.dtype)
        values = values * _fit_weights(weights, tuple(values.shape))
    if mask is None:
        return _mean(values, first_axis=1)
    values, mask = _mean(values, first_axis=len(mask.shape)), ops.cast(mask, values.dtype)
    # A masked step may contain anything, including NaN.
    values = ops.where(mask > 0, values, ops.zeros_like(values))
    axes = tuple(range(1, len(values.shape)))
    return ops.sum(values, axis=axes) / ops.maximum(ops.sum(mask, axis=axes), 1.0)


def _fit_weights(weights: Any, shape: tuple[int | None, ...]) -> Any:
    """Return weights that broadcast to values of a shape; see `mean_per_sample`."""
    while len(weights.shape) > 1 and weights.shape[-1] == 1:
        weights = ops.squeeze(weights, axis=-1)
    if not shapes_agree(tuple(weights.shape), shape[: len(weights.shape)]):
        weights = _mean(weights, first_axis=1)
    missing = len(shape) - len(weights.shape)
    return ops.reshape(weights, (*ops.shape(weights), *[1] * missing)) if missing else weights


def _mean(values: Any, first_axis: int) -> Any:
    """Compute the mean over all axes from `first_axis` on, if there are any."""
    axes = tuple(range(first_axis, len(values.shape)))
    return ops.mean(values, axis=axes) if axes else values
