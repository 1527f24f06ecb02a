"""Compression of logits over many classes: the k largest ones and the mass of the others."""

import math

import numpy as np

from keras_kd.cache.schema import class_dtype


def compress_logits(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the k largest logits, their classes, and the log mass of the others.

    With the logits z in descending order, the mass of the others is Σ_{i>k} exp(z_i), so the
    probabilities of the k classes are preserved.

    Returns:
        Logits (..., k), classes (..., k) and log mass (...).
    """
    classes = logits.shape[-1]
    kept = _largest(logits, k)
    order = np.nonzero(kept)[-1].reshape(*logits.shape[:-1], k)
    values = np.take_along_axis(logits, order, axis=-1)
    # Stable: of equal logits, that of the lower class comes first.
    descending = np.argsort(-values, axis=-1, kind="stable")
    rest = _log_sum_exp(np.where(kept, -np.inf, logits))
    return (
        np.take_along_axis(values, descending, axis=-1),
        np.take_along_axis(order, descending, axis=-1).astype(class_dtype(classes)),
        rest.astype(logits.dtype),
    )


def _largest(logits: np.ndarray, k: int) -> np.ndarray:
    """Return where the k largest logits are, of equal ones those of the lower classes."""
    # Much faster than to sort all of them.
    least = -np.partition(-logits, k - 1, axis=-1)[..., k - 1 : k]
    above, equal = logits > least, logits == least
    missing = k - above.sum(axis=-1, keepdims=True)
    return above | (equal & (np.cumsum(equal, axis=-1) <= missing))


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    """Return log Σ exp over the last axis, in float64."""
    largest = values.max(axis=-1, keepdims=True).astype("float64")
    return np.log(np.exp(values - largest).sum(axis=-1)) + largest[..., 0]


def restore_logits(
    values: np.ndarray, indices: np.ndarray, rest: np.ndarray, classes: int
) -> np.ndarray:
    """Return all logits, with the mass of the others spread evenly.

    Args:
        values: (batch, ..., k).
        indices: (batch, ..., k), their classes.
        rest: (batch, ...), log mass of the others.
        classes: Number of classes.

    Returns:
        (batch, ..., classes) in the dtype of `values`.
    """
    even = rest - np.array(math.log(classes - values.shape[-1]), rest.dtype)
    full = np.repeat(even[..., np.newaxis], classes, axis=-1)
    np.put_along_axis(full, indices.astype("int64"), values, axis=-1)
    return full


def check_top_k(k: int, shape: tuple[int, ...], activation: str | None, name: str) -> None:
    """Check that k fits a teacher's output.

    Raises:
        ValueError: If the outputs are not mutually exclusive classes, or not more than k.
    """
    if activation in ("sigmoid", "values") or not shape or shape[-1] < 2:
        raise ValueError(
            "KnowledgeCache: `top_k` needs the logits of several classes, and teacher "
            f"'{name}' has binary outputs or numbers, of shape {shape}. Pass top_k=None."
        )
    if not 1 <= k < shape[-1]:
        raise ValueError(
            f"KnowledgeCache: teacher '{name}' has {shape[-1]} classes, so `top_k` must be from 1 "
            f"to {shape[-1] - 1}. Received: top_k={k}"
        )
