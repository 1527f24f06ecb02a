"""The data of a search in memory, in an order that does not depend on how they are read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.cache.keys import input_digests
from keras_kd.training.batches import as_batches
from keras_kd.training.tf_data import is_dataset, repeats_forever

#: The most bytes of a data set.
_MOST = 16 * 2**30
_DIGESTS = 4096


@dataclass(frozen=True)
class Samples:
    """Samples as arrays.

    Attributes:
        x: An array, or several in the structure that the model takes.
        y: The labels; `None` without.
        weights: Weights of the samples; `None` without.
    """

    x: Any
    y: Any = None
    weights: Any = None

    def __len__(self) -> int:
        return len(tree.flatten(self.x)[0])

    def take(self, rows: Any) -> "Samples":
        """Return some of the samples."""
        return Samples(*(_map(lambda part: part[rows], p) for p in self.parts))

    def without_labels(self) -> "Samples":
        """Return the inputs alone."""
        return Samples(self.x)

    @property
    def parts(self) -> tuple[Any, Any, Any]:
        """Inputs, labels and weights."""
        return self.x, self.y, self.weights

    @property
    def arrays(self) -> Any:
        """The data as `fit` and `kd.export` take arrays: x, (x, y) or (x, y, weights)."""
        given = [part for part in self.parts if part is not None]
        return tuple(given) if len(given) > 1 else self.x

    def batches(self, size: int) -> Iterable[Any]:
        """Yield (x, y) in order; y is `None` without labels."""
        for start in range(0, len(self), size):
            some = self.take(slice(start, start + size))
            yield some.x, some.y


def read_samples(data: Any, owner: str, inputs: int = 1) -> Samples:
    """Read a data set once, and order its samples by a digest of their inputs.

    The result is the same for a shuffled data set, so a search can be resumed with it.

    Args:
        data: As for `as_batches`.
        owner: The argument, for messages.
        inputs: Number of the model's inputs. Defaults to 1.

    Raises:
        ValueError: If there are no samples, or more than fit into memory.
        TypeError: If the data have another form.
    """
    if is_dataset(data) and repeats_forever(data):
        raise ValueError(f"{owner} must end. Received: a data set that repeats without end")
    found, size = [], 0
    for batch in as_batches(data, owner, inputs=inputs):
        parts = batch if isinstance(batch, tuple) else (batch,)
        x, y, weights = keras.utils.unpack_x_y_sample_weight(parts)
        found.append(tuple(_map(_as_array, part) for part in (x, y, weights)))
        size += sum(part.nbytes for part in tree.flatten(found[-1]) if part is not None)
        if size > _MOST:
            raise ValueError(
                f"{owner} must fit into memory: at most {_MOST // 2**30} GiB. Pass a part of it, "
                "such as dataset.take(n)"
            )
    if not found:
        raise ValueError(f"{owner} must have at least one sample. Received: none")
    samples = Samples(*(_concatenate(parts) for parts in zip(*found, strict=True)))
    digests = [
        input_digests(tree.map_structure(lambda p, s=s: p[s : s + _DIGESTS], samples.x)).numpy()
        for s in range(0, len(samples), _DIGESTS)
    ]
    return samples.take(np.argsort(np.concatenate(digests), kind="stable"))


def _map(function: Any, part: Any) -> Any:
    return None if part is None else tree.map_structure(function, part)


def _as_array(part: Any) -> np.ndarray:
    return part if isinstance(part, np.ndarray) else np.asarray(part)


def _concatenate(parts: Any) -> Any:
    if parts[0] is None:
        return None
    return tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
