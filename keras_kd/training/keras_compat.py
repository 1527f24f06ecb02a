"""A `keras.Model` that `fit` trains on several devices and machines as on one.

What stands here mends Keras 3, whose own `fit` fails under `MultiWorkerMirroredStrategy`:
https://github.com/keras-team/keras/issues/20585. A test trains a plain Keras model on two workers
and says when this file can go.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import tree


class ReplicatedModel(keras.Model):
    """A `keras.Model` whose `fit` and `evaluate` run on several workers too.

    Its steps must return what `shown` makes of their logs.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # Keras takes a batch to learn its shapes and reduces it over the replicas, which fails over
        # workers; and a data set that shuffles has then been read once more than on one device.
        if iterator is not None and self.distribute_strategy.num_replicas_in_sync > 1:
            spec = iterator.data_adapter.get_tf_dataset().element_spec
            data_batch, iterator = tree.map_structure(_or_none, spec), None
        super()._maybe_symbolic_build(iterator, data_batch)


def stack_logs(logs: dict[str, Any]) -> dict[str, Any]:
    """The logs of a step as Keras can take their mean over the workers: along an axis.

    Args:
        logs: Scalars by name.

    Returns:
        The same, of shape (1,) where there are several workers.
    """
    if not is_multi_worker(tf.distribute.get_strategy()):
        return logs
    return {name: tf.reshape(value, [1]) for name, value in logs.items()}


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether a strategy is one of several processes."""
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return several and bool(strategy.cluster_resolver.cluster_spec().jobs)


def _or_none(spec: Any) -> Any:
    return None if isinstance(spec, tf.OptionalSpec) else spec
