"""The k largest logits and the mass of the rest: most of what a teacher of many classes says."""

import math
from typing import Any

import tensorflow as tf

from keras_kd.cache.schema import class_type


def compressed(logits: Any, k: int) -> tuple[Any, Any, Any]:
    """The k largest logits, their classes, and the log of the rest's mass.

    With z the logits in descending order, the mass of the rest is Σ_{i>k} exp(z_i), so that the
    probabilities of the k are what they were.

    Args:
        logits: (..., classes).
        k: How many are kept.

    Returns:
        Logits (..., k), classes (..., k) and log mass (...).
    """
    classes = logits.shape[-1]
    values, places = tf.math.top_k(logits, classes)
    rest = tf.reduce_logsumexp(tf.cast(values[..., k:], tf.float32), axis=-1)
    return (
        values[..., :k],
        tf.cast(places[..., :k], class_type(classes)),
        tf.cast(rest, logits.dtype),
    )


def restored(values: Any, places: Any, rest: Any, classes: int) -> Any:
    """All the logits again: the k where they were, the rest's mass spread evenly over the others.

    Args:
        values: (batch, ..., k).
        places: (batch, ..., k), their classes.
        rest: (batch, ...), log of the rest's mass.
        classes: How many classes there are.

    Returns:
        (batch, ..., classes) in the type of `values`.
    """
    k = values.shape[-1]
    shape = tf.concat([tf.shape(rest), [classes]], axis=0)
    even = tf.broadcast_to((rest - math.log(classes - k))[..., tf.newaxis], shape)
    flat = tf.reshape(even, (-1, classes))
    rows = tf.range(tf.shape(flat)[0])[:, tf.newaxis] + tf.zeros((1, k), tf.int32)
    columns = tf.reshape(tf.cast(places, tf.int32), (-1, k))
    at = tf.stack([rows, columns], axis=-1)
    full = tf.tensor_scatter_nd_update(flat, at, tf.reshape(values, (-1, k)))
    return tf.reshape(full, shape)


def require_top_k(k: int, shape: tuple[int, ...], activation: str | None, name: str) -> int:
    """Refuses a k that does not fit a teacher's output.

    Returns:
        `k`.

    Raises:
        ValueError: When the outputs are no classes of which one is right, or not more than k.
    """
    if activation == "sigmoid" or not shape or shape[-1] < 2:
        raise ValueError(
            f"KnowledgeCache: `top_k` keeps the likeliest of several classes, and teacher '{name}' "
            f"has binary outputs of shape {shape}. Pass top_k=None."
        )
    if not 1 <= k < shape[-1]:
        raise ValueError(
            f"KnowledgeCache: teacher '{name}' has {shape[-1]} classes, so `top_k` must be from 1 "
            f"to {shape[-1] - 1}. Received: top_k={k}"
        )
    return k
