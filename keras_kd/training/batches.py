"""Data in every form that `fit` takes, as batches that can be read again."""

import math
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import keras
from keras import tree

from keras_kd.models.keras_compat import is_loader
from keras_kd.training.loaders import Loader
from keras_kd.training.text import text_arrays
from keras_kd.training.tf_data import dataset_from_batches, dataset_from_samples, is_dataset

#: Samples in a batch of arrays.
BATCH_SIZE = 128
_FORMS = (
    "a `tf.data.Dataset` of batches, arrays such as (x, y), a `keras.utils.PyDataset`, a loader of "
    "Grain or PyTorch, or a list of batches"
)


def as_batches(
    data: Any, owner: str, batch_size: int = BATCH_SIZE, inputs: int = 1, again: bool = False
) -> Iterable[Any]:
    """Return the batches of a data set in any form.

    Args:
        data: A `tf.data.Dataset` of batches; arrays, as x, (x, y) or (x, y, sample_weight), where x
            is an array, or a dict or a list of several; a `keras.utils.PyDataset`; a loader of
            Grain or PyTorch; or another iterable of batches.
        owner: What takes the data, for messages.
        batch_size: Samples per batch of arrays. Defaults to 128.
        inputs: Number of the model's inputs: a list of so many arrays is one x, if it is not 1.
            Defaults to 1.
        again: Whether the batches are read more than once. Defaults to `False`.

    Returns:
        An iterable of batches; a `tf.data.Dataset` unchanged.

    Raises:
        TypeError: If the data have another form, or can be read only once.
        ValueError: If arrays have different numbers of samples.
    """
    if is_dataset(data):
        return data
    if is_loader(data):
        return Loader.of(data)
    data = text_arrays(data)
    if _is_arrays(data, inputs):
        return ArrayBatches(data, owner, batch_size)
    endless = isinstance(data, keras.utils.PyDataset) and data.num_batches is None
    if endless or not isinstance(data, Iterable) or isinstance(data, (str, bytes, dict)):
        raise TypeError(
            f"{owner}: the data must be {_FORMS}. Received: {data!r} (of type "
            f"{type(data).__name__})" + (", without a number of batches" if endless else "")
        )
    if again and isinstance(data, Iterator):
        raise TypeError(
            f"{owner}: the data are read more than once, so they must be {_FORMS}. Received: a "
            f"{type(data).__name__}, which can be read once"
        )
    return data


def as_samples_or_batches(data: Any, owner: str, unbatch: bool = False) -> Any:
    """Return a data set in any form as a `tf.data.Dataset`, which is itself returned unchanged.

    Args:
        data: As for `as_batches`, read more than once. Arrays become single samples.
        owner: What takes the data, for messages.
        unbatch: Whether iterables of batches become single samples too. Defaults to `False`.

    Raises:
        TypeError: If the data have another form, or can be read only once.
        ValueError: If arrays have different numbers of samples, or there is no batch.
    """
    batches = as_batches(data, owner, again=True)
    if isinstance(batches, ArrayBatches):
        return dataset_from_samples(batches.arrays)
    if is_dataset(batches):
        return batches
    dataset = dataset_from_batches(batches, count_batches(batches), owner)
    return dataset.unbatch() if unbatch else dataset


def count_batches(batches: Iterable[Any]) -> int | None:
    """Return the number of batches that `as_batches` returned, or `None` if it is unknown."""
    if is_dataset(batches):
        count = int(batches.cardinality())
        return count if count >= 0 else None
    if isinstance(batches, (keras.utils.PyDataset, Loader)):
        return batches.num_batches
    return len(batches) if isinstance(batches, Sized) else None


def unpack_x_y(batch: Any) -> tuple[Any, Any]:
    """Return x and y of a batch; y is `None` if there is none.

    Unlike `keras.utils.unpack_x_y_sample_weight`, a list is read as several inputs.
    """
    if not isinstance(batch, tuple):
        return batch, None
    x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
    return x, y


class ArrayBatches:
    """Batches of arrays in order.

    Args:
        arrays: x, (x, y) or (x, y, sample_weight).
        owner: What takes the data, for messages.
        batch_size: Samples per batch.
    """

    def __init__(self, arrays: Any, owner: str, batch_size: int) -> None:
        self.arrays = arrays
        self._batch_size = batch_size
        sizes = [len(part) for part in tree.flatten(arrays) if part is not None]
        if len(set(sizes)) > 1:
            raise ValueError(
                f"{owner}: the arrays must have the same number of samples for each input and "
                f"label. Received: {sizes} samples"
            )
        self._samples = sizes[0]

    def __len__(self) -> int:
        return math.ceil(self._samples / self._batch_size)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, self._samples, self._batch_size):
            rows = slice(start, start + self._batch_size)
            yield tree.map_structure(
                lambda part, rows=rows: None if part is None else part[rows], self.arrays
            )


def _is_arrays(data: Any, inputs: int) -> bool:
    """Return whether data are arrays, and not an iterable of batches."""
    if isinstance(data, list) and not len(data) == inputs > 1:
        return False
    parts = [part for part in tree.flatten(data) if part is not None]
    return bool(parts) and all(map(_is_array, parts))


def _is_array(value: Any) -> bool:
    return hasattr(value, "__getitem__") and bool(getattr(value, "shape", ()))
