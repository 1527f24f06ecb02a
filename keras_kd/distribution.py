"""What tf.distribute asks of a training step."""

from typing import Any

import tensorflow as tf


def per_replica(value: Any) -> Any:
    """A replica's mean as its share of the global mean: divided by the number of replicas.

    Gradients are summed over the replicas, so each bare mean must be divided exactly once. Keras
    does this itself for compiled losses.

    Args:
        value: A scalar computed from this replica's part of the batch.

    Returns:
        The scalar divided by the number of replicas.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return value / replicas if replicas > 1 else value


def global_mean(value: Any) -> Any:
    """The inverse of `per_replica`, for what is shown to the user.

    Args:
        value: A scalar that is one replica's share.

    Returns:
        The scalar times the number of replicas.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return value * replicas if replicas > 1 else value


def replica_id() -> Any:
    """Number of this replica, 0 where there is one: for noise that differs from the others'."""
    context = tf.distribute.get_replica_context()
    return 0 if context is None else context.replica_id_in_sync_group


def share_of_replica(count: Any) -> tuple[Any, Any]:
    """What a mean over this replica's `count` samples counts for in the mean over all of them.

    Keras weighs the means of the replicas alike, which is right where each has as many samples.

    Args:
        count: Number of samples on this replica, a float scalar.

    Returns:
        A factor for this replica's mean, `None` where there is one replica, and the number of
        samples that each replica has on average.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    context = tf.distribute.get_replica_context()
    if replicas == 1 or context is None:
        return None, count
    average = context.all_reduce(tf.distribute.ReduceOp.SUM, count) / replicas
    return tf.math.divide_no_nan(count, average), average
