"""The running means of the losses that the progress bar and the history show."""

from collections.abc import Iterable, Mapping
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
        self._means = _Means(list(names))

    @property
    def names(self) -> list[str]:
        """Names of the losses."""
        return self._means.names

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metric of all means, which Keras resets at the start of each epoch."""
        return [self._means]

    def update(self, batch: Mapping[str, tuple[Any, Any]]) -> None:
        """Add the means of one batch.

        Args:
            batch: By name the mean of a loss and the number of samples that it is the mean of.
        """
        self._means.update_state(batch)

    def results(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the means by name."""
        means = self._means.result()
        return {name: means[name] for name in names}

    def select(self, logs: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """Return the logs of a step without the losses that are not among some names."""
        dropped = set(self.names).difference(names)
        return {name: value for name, value in logs.items() if name not in dropped}


class _Means(keras.metrics.Metric):
    """The weighted means of several scalars, in two variables: few operations for all of them.

    Args:
        names: Names of the scalars.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__(name="loss")  # As the first metric of a Keras model.
        self.names = names
        self.total = self.add_variable((len(names),), "zeros", name="total")
        self.count = self.add_variable((len(names),), "zeros", name="count")

    def update_state(self, batch: Mapping[str, tuple[Any, Any]]) -> None:
        """Add a mean and its weight for each of some names."""
        pairs = [batch.get(name, (0.0, 0.0)) for name in self.names]
        values, weights = (
            ops.stack([ops.convert_to_tensor(part, self.dtype) for part in parts])
            for parts in zip(*pairs, strict=True)
        )
        self.total.assign_add(values * weights)
        self.count.assign_add(weights)

    def result(self) -> dict[str, Any]:
        """Return the means by name, 0 for what was never added."""
        means = ops.unstack(ops.divide_no_nan(self.total, self.count), len(self.names))
        return dict(zip(self.names, means, strict=True))


def batch_size(x: Any) -> Any:
    """Return the number of samples in a batch, for any structure of inputs."""
    return ops.shape(next(part for part in tree.flatten(x) if part is not None))[0]
