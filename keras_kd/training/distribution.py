"""The parts of a training step that depend on `tf.distribute`."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.models.keras_compat import get_mask, set_mask
from keras_kd.models.user_warnings import warn_user


def replicas() -> int:
    """Return the number of replicas."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def get_strategy(model: keras.Model) -> tf.distribute.Strategy:
    """Return the distribution strategy of a model."""
    return model.distribute_strategy


def strategy_scope(model: keras.Model) -> AbstractContextManager:
    """Return the scope that variables of a model are made in."""
    return model.distribute_strategy.scope()


def check_strategy(model: keras.Model) -> None:
    """Reject a strategy that the model cannot train under.

    Raises:
        ValueError: If the strategy is a `ParameterServerStrategy`, or the model has weights that
            were built outside its scope, or that obey a rule.
    """
    strategy = model.distribute_strategy
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise ValueError(
            f"'{model.name}': Keras 3 does not train under ParameterServerStrategy. Use "
            "tf.distribute.MirroredStrategy for the devices of one machine, or "
            "tf.distribute.MultiWorkerMirroredStrategy for several machines."
        )
    if keras.distribution.distribution() is not None:
        warn_user(
            "keras.distribution (DataParallel, ModelParallel) has no effect on TensorFlow: "
            "everything runs on one device. Use tf.distribute.MirroredStrategy."
        )
    with strategy.scope():
        if not is_built_in_scope(model.trainable_variables):
            raise ValueError(
                f"'{model.name}': with several replicas the student must be built (or loaded), and "
                f"'{model.name}' made and compiled, inside `with strategy.scope():`. "
                f"Received: weights from outside the scope of {type(strategy).__name__}"
            )
        if model.weight_rule is not None and replicas() > 1:
            raise ValueError(
                f"'{model.name}' keeps the zeros or the few values of compressed weights, which no "
                "tf.distribute strategy supports. Train it on one device. Received: "
                f"{replicas()} replicas"
            )


def is_built_in_scope(variables: Iterable[keras.Variable]) -> bool:
    """Whether variables are on all replicas: built in the scope of the current strategy."""
    extended = tf.distribute.get_strategy().extended
    return replicas() == 1 or all(extended.variable_created_in_scope(v.value) for v in variables)


def per_replica(value: Any, share: Any = None) -> Any:
    """Return a replica's mean as its share of the global mean.

    Gradients are summed over the replicas, so each mean must be divided by the number of replicas
    exactly once. Keras does this itself for compiled losses.

    Returns:
        The scalar divided by the number of replicas.
    """
    if replicas() == 1:
        return value
    return (value if share is None else value * tf.cast(share, value.dtype)) / replicas()


def global_mean(value: Any) -> Any:
    """Return the inverse of `per_replica`, for values that the user sees.

    Returns:
        The scalar times the number of replicas.
    """
    return value * replicas() if replicas() > 1 else value


def replica_id() -> Any:
    """Return the index of this replica, so that each draws different noise."""
    context = tf.distribute.get_replica_context()
    return 0 if context is None else context.replica_id_in_sync_group


def replica_share(count: Any) -> tuple[Any, Any]:
    """Return the weight of this replica's mean over `count` samples in the mean over all samples.

    Keras weights all replicas equally, which is right only if they have equally many samples.

    Returns:
        A factor for this replica's mean, `None` if all have equally many, and the mean number of
        samples per replica.
    """
    context = tf.distribute.get_replica_context()
    if replicas() == 1 or context is None or _same_everywhere(count):
        return None, count
    count = tf.cast(count, "float32")
    average = context.all_reduce(tf.distribute.ReduceOp.SUM, count) / replicas()
    return tf.math.divide_no_nan(count, average), average


def fill_empty_replica(x: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Add a sample on a replica without any, so that a model can be trained on the batch.

    The last batch may have fewer samples than there are replicas, and batch normalization cannot
    compute the mean of an empty batch.

    Returns:
        The batch, of one sample of ones if it was empty, and a function that removes that sample
        from outputs (any structure of tensors, batch first).
    """
    size = tf.shape(tree.flatten(x)[0])[0]
    known = tf.get_static_value(size)
    if replicas() == 1 or (known and _same_everywhere(known)):
        return x, lambda outputs: outputs

    def filled(part: Any) -> Any:
        one = tf.concat([[1], tf.shape(part)[1:]], axis=0)
        return tf.cond(size > 0, lambda: part, lambda: tf.ones(one, part.dtype))

    def cut(part: Any) -> Any:
        found, mask = part[:size], get_mask(part)
        return found if mask is None else set_mask(found, mask[:size])

    return tree.map_structure(filled, x), lambda outputs: tree.map_structure(cut, outputs)


def synchronize_statistics(layers: Sequence[keras.layers.Layer], share: Any) -> None:
    """Assign the mean over replicas to the statistics of layers, such as moving averages.

    Keras keeps separate statistics on each replica, and saves those of the first.
    """
    context = tf.distribute.get_replica_context()
    variables = _statistics(layers) if replicas() > 1 and context is not None else []
    if variables:
        values = [per_replica(tf.convert_to_tensor(v), share) for v in variables]
        means = context.all_reduce(tf.distribute.ReduceOp.SUM, values)
        for variable, mean in zip(variables, means, strict=True):
            variable.assign(mean)


def _statistics(layers: Sequence[keras.layers.Layer]) -> list[keras.Variable]:
    frozen = {id(v) for layer in layers if not layer.trainable for v in layer.variables}
    found = {
        id(v): v
        for layer in layers
        for v in layer.non_trainable_variables
        if id(v) not in frozen
        and v.aggregation == "none"
        and "float" in keras.backend.standardize_dtype(v.dtype)
    }
    return list(found.values())


def _same_everywhere(count: Any) -> bool:
    """Whether a number is known when the step is traced, and so equal on all replicas."""
    return not tf.is_tensor(count) and not tf.executing_eagerly()


class VariableSnapshot:
    """The values of variables on all replicas, to restore them.

    Args:
        variables: The variables.
    """

    def __init__(self, variables: Iterable[keras.Variable]) -> None:
        strategy = tf.distribute.get_strategy()
        parts = [part for v in variables for part in strategy.experimental_local_results(v.value)]
        self._values = [(part, part.numpy()) for part in parts]

    def restore(self) -> None:
        """Assign the values that the variables had."""
        for part, value in self._values:
            part.assign(value)


def stack_logs(logs: dict[str, Any]) -> dict[str, Any]:
    """Return the logs of a step with an axis along which Keras can reduce them over the workers.

    Returns:
        The same values, of shape (1,) if there are several workers.
    """
    if not is_multi_worker(tf.distribute.get_strategy()):
        return logs
    return {name: tf.reshape(value, [1]) for name, value in logs.items()}


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether a strategy is one of several processes."""
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return several and bool(strategy.cluster_resolver.cluster_spec().jobs)


def worker_index(strategy: tf.distribute.Strategy) -> int | None:
    """Return the index of this worker, or `None` if there is one process."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return None
    return strategy.cluster_resolver.task_id or 0


def worker_shard() -> tuple[int, int] | None:
    """Return the index of this worker and their number, or `None` if there is one."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    if resolver is None:
        return None
    cluster = resolver.cluster_spec().as_dict()
    tasks = [(kind, i) for kind in ("chief", "worker") for i in range(len(cluster.get(kind, ())))]
    if len(tasks) < 2:
        return None
    return tasks.index((resolver.task_type, resolver.task_id)), len(tasks)


def least_over_workers(strategy: tf.distribute.Strategy, number: int) -> int:
    """Return the smallest of the workers' numbers."""
    numbers = strategy.gather(strategy.run(lambda: tf.constant([number])), axis=0)
    return int(tf.reduce_min(numbers))
