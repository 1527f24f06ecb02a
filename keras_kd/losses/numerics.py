"""Numerics shared by the losses: divergences in log space, safe norms, pooling."""

from typing import Any

import keras
import numpy as np
from keras import ops

# Squared norm below which torch's `normalize`, and so the papers' code, treats x as zero.
_ZERO = 1e-24


def kullback_leibler(log_p: Any, log_q: Any) -> Any:
    """Compute Σ p · (log p − log q) over the last axis from log-probabilities."""
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def mean_over_channels(x: Any) -> Any:
    """Compute the mean over the last axis; a tap of one value per sample, (batch,), has none."""
    return ops.mean(x, axis=-1) if len(x.shape) > 1 else x


def l2_norm(x: Any, axis: int = -1) -> Any:
    """Compute the L2 norm and keep `axis`; the gradient at a zero vector is zero, not NaN."""
    squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
    nonzero = squares > _ZERO
    return ops.where(nonzero, ops.sqrt(ops.where(nonzero, squares, ops.ones_like(squares))), 0.0)


def l2_normalize(x: Any, axis: int = -1, epsilon: float = 0.0) -> Any:
    """Divide x by its norm plus `epsilon`; a zero vector stays zero and has no gradient."""
    length = l2_norm(x, axis)
    return x * ops.where(length > 0, 1.0 / ops.where(length > 0, length + epsilon, 1.0), 0.0)


def center(x: Any, axis: int = -1) -> Any:
    """Subtract the mean along `axis`; equal values become zeros without gradient."""
    centered = x - ops.mean(x, axis=axis, keepdims=True)
    rounding = 10 * np.finfo(keras.backend.standardize_dtype(x.dtype)).eps
    # The rounding errors of equal values would have a huge gradient.
    significant = l2_norm(centered, axis) > rounding * l2_norm(x, axis)
    return ops.where(significant, centered, ops.zeros_like(centered))


def flatten_samples(x: Any) -> Any:
    """Reshape (batch, ...) to (batch, features)."""
    return x if len(x.shape) == 2 else ops.reshape(x, (ops.shape(x)[0], -1))


def gram_matrix(x: Any) -> Any:
    """Compute the inner products of all pairs of rows: (..., n, features) to (..., n, n)."""
    axes = (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2)
    # With one constant factor, the backward pass has one product instead of two; the transpose
    # adds the gradient of the other factor at the cost of an n × n matrix.
    half = ops.matmul(x, ops.transpose(ops.stop_gradient(x), axes))
    return half + ops.transpose(half, axes) - ops.stop_gradient(half)


def smooth_l1(difference: Any) -> Any:
    """Compute ½d² where |d| < 1, else |d| − ½, elementwise."""
    # With the clipped value constant, the gradient is the clipped value, which is exact.
    clipped = ops.stop_gradient(ops.clip(difference, -1.0, 1.0))
    return clipped * (difference - 0.5 * clipped)


def match_sizes(teacher: Any, student: Any) -> tuple[Any, Any]:
    """Average-pool the larger of two maps (or sequences) to the size of the smaller, per axis.

    Args:
        teacher: (batch, height, width, channels) or (batch, time, features).
        student: The same rank.
    """
    for axis in range(1, len(teacher.shape) - 1):
        if teacher.shape[axis] == student.shape[axis]:
            continue
        size = min(teacher.shape[axis], student.shape[axis])
        teacher, student = _average_pool(teacher, axis, size), _average_pool(student, axis, size)
    return teacher, student


def _average_pool(x: Any, axis: int, size: int) -> Any:
    """Apply adaptive average pooling along one axis, with the same windows as torch."""
    length = x.shape[axis]
    if length == size:
        return x
    windows = np.zeros((length, size))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        windows[start:stop, i] = 1 / (stop - start)
    pooled = ops.matmul(ops.moveaxis(x, axis, -1), ops.convert_to_tensor(windows, x.dtype))
    return ops.moveaxis(pooled, -1, axis)
