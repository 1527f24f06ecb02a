"""Joining of cached teacher outputs to arrays and to a `PyDataset`, without `tf.data`."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.cache.array_batches import as_arrays, input_digests, key_numbers
from keras_kd.cache.elements import split_element, split_key
from keras_kd.cache.input_specs import sample_inputs, select_stored
from keras_kd.cache.reader import Reader
from keras_kd.cache.row_lookup import RowLookup
from keras_kd.cache.schema import StoredTap
from keras_kd.cache.top_k import restore_logits
from keras_kd.teachers.knowledge import (
    PREPARED,
    CacheError,
    JoinedInputs,
    tap_key,
    teacher_key,
)
from keras_kd.training.batches import ArrayBatches, as_batches, count_batches
from keras_kd.training.loaders import Loader
from keras_kd.training.tf_data import array_spec


def join_arrays(reader: Reader, data: Any) -> Any:
    """Return data with `JoinedInputs` in place of x; see `KnowledgeCache.join`.

    Returns:
        The same arrays, a `PyDataset` of batches, or a `JoinedLoader` for a loader.

    Raises:
        CacheError: If the samples are not those of the build.
        TypeError: If the data have another form.
    """
    batches = as_batches(data, "KnowledgeCache.join", again=True)
    if isinstance(batches, Loader):
        return JoinedLoader(reader, batches)
    if not isinstance(batches, ArrayBatches):
        return JoinedBatches(reader, batches)
    join = _Join(reader)
    x, rest = split_element(data)
    joined = join(x, 0)
    return (joined, *rest) if rest else joined


class JoinedBatches(keras.utils.PyDataset):
    """Batches with the teacher outputs of a cache.

    Samples without keys are numbered, for which all batches but the last must have one size.

    Args:
        reader: The cache.
        batches: A `PyDataset` or a list of batches.
    """

    def __init__(self, reader: Reader, batches: Any) -> None:
        names = ("workers", "use_multiprocessing", "max_queue_size")
        own = isinstance(batches, keras.utils.PyDataset)
        super().__init__(**{name: getattr(batches, name) for name in names} if own else {})
        self._batches = batches
        self._count = count_batches(batches)
        self._join = _Join(reader)
        first = tree.flatten(split_key(split_element(batches[0])[0])[0])[0]
        self._size = len(first)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> tuple:
        if not 0 <= i < self._count:
            raise IndexError(i)
        x, rest = split_element(self._batches[i])
        return (self._join(x, i * self._size), *rest)

    def on_epoch_begin(self) -> None:
        """Call the method of the data."""
        if isinstance(self._batches, keras.utils.PyDataset):
            self._batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Call the method of the data."""
        if isinstance(self._batches, keras.utils.PyDataset):
            self._batches.on_epoch_end()

    @property
    def element_spec(self) -> tuple:
        """Specification of a batch, of the inputs only."""
        return (tree.map_structure(array_spec, self[0][0]),)


class JoinedLoader(Loader):
    """Batches of a loader with the teacher outputs of a cache; samples without keys are numbered.

    Args:
        reader: The cache.
        batches: The batches of a loader.
    """

    def __init__(self, reader: Reader, batches: Loader) -> None:
        super().__init__(batches, batches.num_batches)
        self._join = _Join(reader)

    def __iter__(self) -> Iterator[tuple]:
        first = 0
        for batch in self._batches:
            x, rest = split_element(batch)
            joined = self._join(x, first)
            first += len(tree.flatten(x)[0])
            yield (joined, *rest)

    @property
    def element_spec(self) -> tuple:
        """Specification of a batch, of the inputs only."""
        return (tree.map_structure(array_spec, next(iter(self))[0]),)


class _Join:
    """Adds the teacher outputs to batches."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lookup = RowLookup(reader)

    def __call__(self, x: Any, first: int) -> JoinedInputs:
        """Return a batch's inputs with the teacher outputs; `first` is its first sample's index."""
        schema, owner = self._reader.manifest.schema, f"KnowledgeCache '{self._reader.folder}'"
        x, key = split_key(x)
        stored = as_arrays(select_stored(x, schema.input_names, owner))
        _check_inputs(stored, schema.inputs, owner)
        keys = key_numbers(key, first, len(tree.flatten(stored)[0]))
        views = np.zeros_like(keys)
        *rows, must_check = self._lookup.take(keys, views)
        if must_check:
            self._lookup.check(keys, views, input_digests(stored))
        values = dict(zip(self._reader.values, rows, strict=True))
        outputs = {
            teacher_key(number, teacher.name, teacher.fingerprint): {
                **{
                    tap_key(tap.name, tap.serves): _tap_value(tap, schema.dtype, values)
                    for tap in teacher.taps
                },
                **({PREPARED: values[teacher.prepared]} if teacher.prepared else {}),
            }
            for number, teacher in enumerate(schema.teachers)
        }
        return JoinedInputs(x, outputs)


def _tap_value(tap: StoredTap, dtype: str, rows: dict[str, np.ndarray]) -> np.ndarray:
    parts = [rows[file] for file in tap.columns(dtype)]
    value = parts[0] if tap.top_k is None else restore_logits(*parts, tap.shape[-1])
    # NumPy has no bfloat16; float32 holds the same numbers.
    return value.astype("float32" if tap.dtype == "bfloat16" else tap.dtype)


def _check_inputs(x: Any, inputs: Iterable, owner: str) -> None:
    found = sample_inputs(tree.map_structure(array_spec, x), batched=True)
    same = len(found) == len(inputs) and all(
        a[1] == b[1] and len(a[0]) == len(b[0]) for a, b in zip(found, inputs, strict=True)
    )
    if not same:
        raise CacheError(
            f"{owner}: batches must hold the inputs that the cache was built with, {inputs}. "
            f"Received: {found}"
        )
