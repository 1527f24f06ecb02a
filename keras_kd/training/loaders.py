"""Data loaders of Grain and PyTorch, which can be read again and have no index."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from keras import tree

from keras_kd.models.keras_compat import BatchAdapter, loader_length
from keras_kd.training.tf_data import dataset_from_batches


class Loader(BatchAdapter):
    """Batches that can be read again, for `fit` and for every other function.

    Args:
        batches: Batches of arrays, as tuples or alone.
        count: Their number, or `None` if it is unknown.
    """

    def __init__(self, batches: Iterable[Any], count: int | None) -> None:
        self._batches = batches
        self._count = count

    @classmethod
    def of(cls, loader: Any) -> "Loader":
        """Return the batches of a loader of Grain or PyTorch as NumPy arrays."""
        return cls(_Arrays(loader), loader_length(loader))

    def map(self, function: Callable[[Any], Any]) -> "Loader":
        """Return the batches, each mapped when it is read."""
        return Loader(_Mapped(function, self), self._count)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)

    def get_tf_dataset(self) -> Any:
        """Return a `tf.data.Dataset` for the loop of TensorFlow."""
        return dataset_from_batches(self, self._count, "fit")

    @property
    def num_batches(self) -> int | None:
        """The number of batches, or `None` if it is unknown."""
        return self._count


class _Arrays:
    """The batches of a loader as NumPy arrays; a list at the top is a tuple, as for Keras."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            yield tree.map_structure(
                np.asarray, tuple(batch) if isinstance(batch, list) else batch, none_is_leaf=False
            )


class _Mapped:
    def __init__(self, function: Callable[[Any], Any], batches: Iterable[Any]) -> None:
        self._function, self._batches = function, batches

    def __iter__(self) -> Iterator[Any]:
        return map(self._function, self._batches)
