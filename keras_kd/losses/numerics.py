"""What several losses compute: divergences in log space, safe norms, features of one size."""

from typing import Any

import keras
import numpy as np
from keras import ops

# The square of the norm below which torch's `normalize`, and so the papers' code, sees a zero.
_ZERO = 1e-24


def kullback_leibler(log_p: Any, log_q: Any) -> Any:
    """Σ p · (log p − log q) over the last axis.

    Args:
        log_p: Log-probabilities (..., classes).
        log_q: Log-probabilities of the same shape.

    Returns:
        Tensor (...).
    """
    return ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)


def mean_over_samples(values: Any, weights: Any = None) -> Any:
    """The mean over the samples of value times weight; 0 where there are none.

    Args:
        values: (batch,).
        weights: (batch,), or `None` for 1.

    Returns:
        A scalar.
    """
    if weights is not None:
        values = values * ops.cast(weights, values.dtype)
    return ops.divide_no_nan(ops.sum(values), ops.cast(ops.shape(values)[0], values.dtype))


def norm(x: Any, axis: int = -1) -> Any:
    """The Euclidean norm with `axis` kept; its gradient at a zero vector is zero, not NaN."""
    squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
    present = squares > _ZERO
    return ops.where(present, ops.sqrt(ops.where(present, squares, ops.ones_like(squares))), 0.0)


def unit(x: Any, axis: int = -1, epsilon: float = 0.0) -> Any:
    """Divides x by its norm (plus `epsilon`); a zero vector stays, without gradient."""
    length = norm(x, axis)
    return x * ops.where(length > 0, 1.0 / ops.where(length > 0, length + epsilon, 1.0), 0.0)


def centred(x: Any, axis: int = -1) -> Any:
    """The values less their mean along `axis`; zeros without gradient where all are equal."""
    moved = x - ops.mean(x, axis=axis, keepdims=True)
    rounding = 10 * np.finfo(keras.backend.standardize_dtype(x.dtype)).eps
    # What rounding leaves of equal values has no direction, but would get a huge gradient.
    return ops.where(norm(moved, axis) > rounding * norm(x, axis), moved, ops.zeros_like(moved))


def rows(x: Any) -> Any:
    """Features as one row for each sample: (batch, ...) to (batch, features)."""
    return x if len(x.shape) == 2 else ops.reshape(x, (ops.shape(x)[0], -1))


def gram(x: Any) -> Any:
    """The products of all pairs of rows: (..., n, features) to (..., n, n)."""
    axes = (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2)
    # Held constant on one side the product has one backward product instead of two; the
    # transpose gives the gradient of the other side at the cost of an n × n matrix.
    half = ops.matmul(x, ops.transpose(ops.stop_gradient(x), axes))
    return half + ops.transpose(half, axes) - ops.stop_gradient(half)


def smooth_l1(difference: Any) -> Any:
    """Computes ½d² where |d| < 1, else |d| − ½, elementwise."""
    # With the clipped value held constant the gradient is that value, which is right.
    clipped = ops.stop_gradient(ops.clip(difference, -1.0, 1.0))
    return clipped * (difference - 0.5 * clipped)


def same_positions(teacher: Any, student: Any) -> tuple[Any, Any]:
    """Averages the larger of two maps (or sequences) to the size of the smaller, axis by axis.

    Args:
        teacher: (batch, height, width, channels) or (batch, time, features).
        student: The same rank; other sizes and channels.

    Returns:
        Both with equal sizes between batch and channels.
    """
    for axis in range(1, len(teacher.shape) - 1):
        if teacher.shape[axis] == student.shape[axis]:
            continue
        size = min(teacher.shape[axis], student.shape[axis])
        teacher, student = _averaged(teacher, axis, size), _averaged(student, axis, size)
    return teacher, student


def _averaged(x: Any, axis: int, size: int) -> Any:
    """Adaptive average pooling along one axis, as torch defines its windows."""
    length = x.shape[axis]
    if length == size:
        return x
    windows = np.zeros((length, size))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        windows[start:stop, i] = 1 / (stop - start)
    pooled = ops.matmul(ops.moveaxis(x, axis, -1), ops.convert_to_tensor(windows, x.dtype))
    return ops.moveaxis(pooled, -1, axis)
