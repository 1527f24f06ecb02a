"""The running means of the losses that the progress bar and the history show."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops, tree


class LossTrackers:
    """Running means of the losses, weighted by the size of the batch.

    This is not a Keras object, so no checkpoint holds them.

    Args:
        names: Names of the losses.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._means = {name: _ScalarMean(name=name) for name in names}

    @property
    def names(self) -> list[str]:
        """Names of the losses."""
        return list(self._means)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means, which Keras resets at the start of each epoch."""
        return list(self._means.values())

    def update(self, name: str, value: Any, size: Any) -> None:
        """Add the mean of one batch of `size` samples."""
        self._means[name].update_state(value, size)

    def results(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the means by name."""
        return {name: self._means[name].result() for name in names}

    def select(self, logs: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """Return the logs of a step without the losses that are not among some names."""
        dropped = self._means.keys() - set(names)
        return {name: value for name, value in logs.items() if name not in dropped}


class _ScalarMean(keras.metrics.Mean):
    """The weighted mean of scalars, with half the operations of the base class."""

    def update_state(self, values: Any, sample_weight: Any = 1) -> None:
        """Add a value with its weight, both scalars."""
        weight = ops.convert_to_tensor(sample_weight, self.dtype)
        self.total.assign_add(ops.cast(values, self.dtype) * weight)
        self.count.assign_add(weight)


def batch_size(x: Any) -> Any:
    """Return the number of samples in a batch, for any structure of inputs."""
    return ops.shape(next(part for part in tree.flatten(x) if part is not None))[0]
