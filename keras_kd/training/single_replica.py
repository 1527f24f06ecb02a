"""What a training step asks of its replicas, for backends where a step sees the whole batch.

On JAX `keras.distribution` divides the arrays of one program over the devices, so a mean is the
mean over all samples.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras

__all__ = [
    "VariableSnapshot",
    "check_strategy",
    "fill_empty_replica",
    "get_strategy",
    "global_mean",
    "is_built_in_scope",
    "least_over_workers",
    "marked",
    "per_replica",
    "replica_id",
    "replica_share",
    "replicas",
    "stack_logs",
    "strategy_scope",
    "synchronize_statistics",
    "worker_index",
    "worker_shard",
]


def replicas() -> int:
    """Return the number of replicas."""
    return 1


def check_strategy(model: keras.Model) -> None:
    """Accept every model: there is no strategy that it could not be trained under."""


def get_strategy(model: keras.Model) -> None:
    """Return the distribution strategy of a model: there is none."""


def strategy_scope(model: keras.Model) -> AbstractContextManager:
    """Return the scope that variables of a model are made in."""
    return contextlib.nullcontext()


def marked(message: str, kind: str = "error") -> str:
    """Return a message unmarked: no graph hides it."""
    return message


def is_built_in_scope(variables: Iterable[keras.Variable]) -> bool:
    """Whether variables are on all replicas."""
    return True


def per_replica(value: Any, share: Any = None) -> Any:
    """Return a replica's mean as its share of the global mean."""
    return value


def global_mean(value: Any) -> Any:
    """Return the inverse of `per_replica`."""
    return value


def replica_id() -> int:
    """Return the index of this replica."""
    return 0


def replica_share(count: Any) -> tuple[None, Any]:
    """Return no factor, and the number of samples."""
    return None, count


def fill_empty_replica(x: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the batch, which has samples, and the identity."""
    return x, lambda outputs: outputs


def synchronize_statistics(layers: Sequence[keras.layers.Layer], share: Any) -> None:
    """Do nothing: each layer has one set of statistics."""


def stack_logs(logs: dict[str, Any]) -> dict[str, Any]:
    """Return the logs of a step."""
    return logs


def worker_index(strategy: None) -> None:
    """Return `None`: there is one process."""


def worker_shard() -> None:
    """Return `None`: there is one worker."""


def least_over_workers(strategy: None, number: int) -> int:
    """Return the number of the only worker."""
    return number


class VariableSnapshot:
    """The values of variables, to restore them.

    Args:
        variables: The variables.
    """

    def __init__(self, variables: Iterable[keras.Variable]) -> None:
        self._values = [(v, keras.ops.convert_to_numpy(v).copy()) for v in variables]

    def restore(self) -> None:
        """Assign the values that the variables had."""
        for variable, value in self._values:
            variable.assign(value)
