"""Compression of logits over many classes: the k largest ones and the mass of the others."""

import math
from typing import Any

import tensorflow as tf

from keras_kd.cache.schema import class_dtype


def compress_logits(logits: Any, k: int) -> tuple[Any, Any, Any]:
    """Return the k largest logits, their classes, and the log mass of the others.

    With the logits z in descending order, the mass of the others is Σ_{i>k} exp(z_i), so the
    probabilities of the k classes are preserved.

    Returns:
        Logits (..., k), classes (..., k) and log mass (...).
    """
    classes = logits.shape[-1]
    values, indices = tf.math.top_k(logits, classes)
    rest = tf.reduce_logsumexp(tf.cast(values[..., k:], tf.float32), axis=-1)
    return (
        values[..., :k],
        tf.cast(indices[..., :k], class_dtype(classes)),
        tf.cast(rest, logits.dtype),
    )


def restore_logits(values: Any, indices: Any, rest: Any, classes: int) -> Any:
    """Return all logits, with the mass of the others spread evenly.

    Args:
        values: (batch, ..., k).
        indices: (batch, ..., k), their classes.
        rest: (batch, ...), log mass of the others.
        classes: Number of classes.

    Returns:
        (batch, ..., classes) in the dtype of `values`.
    """
    k = values.shape[-1]
    shape = tf.concat([tf.shape(rest), [classes]], axis=0)
    even = tf.broadcast_to((rest - math.log(classes - k))[..., tf.newaxis], shape)
    flat = tf.reshape(even, (-1, classes))
    rows = tf.range(tf.shape(flat)[0])[:, tf.newaxis] + tf.zeros((1, k), tf.int32)
    columns = tf.reshape(tf.cast(indices, tf.int32), (-1, k))
    at = tf.stack([rows, columns], axis=-1)
    full = tf.tensor_scatter_nd_update(flat, at, tf.reshape(values, (-1, k)))
    return tf.reshape(full, shape)


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
