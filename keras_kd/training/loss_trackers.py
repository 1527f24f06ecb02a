"""The running means that a training step shows: one for each loss."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops, tree


class LossTrackers:
    """Running means of the losses, weighted by the size of the batch.

    No Keras object, so that no checkpoint holds them.

    Args:
        names: Names of the losses.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._means = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def names(self) -> list[str]:
        """Names of the losses."""
        return list(self._means)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means, for Keras to reset at the start of each epoch."""
        return list(self._means.values())

    def update(self, name: str, value: Any, size: Any) -> None:
        """Adds the mean of one batch of `size` samples."""
        self._means[name].update_state(value, sample_weight=size)

    def results(self, names: Iterable[str]) -> dict[str, Any]:
        """The means by name."""
        return {name: self._means[name].result() for name in names}


def batch_size(x: Any) -> Any:
    """Number of samples in a batch, whatever the structure of the inputs."""
    return ops.shape(next(part for part in tree.flatten(x) if part is not None))[0]
