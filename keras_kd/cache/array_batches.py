"""Batches of arrays with the keys of their samples: what a cache reads without `tf.data`."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.cache.elements import Source, TeacherBatch, split_element, split_key
from keras_kd.cache.farmhash import fingerprint64
from keras_kd.teachers.knowledge import CacheError
from keras_kd.training import backend
from keras_kd.training.batches import as_batches, count_batches
from keras_kd.training.loaders import Loader
from keras_kd.training.tf_data import array_spec

#: Strings have digests and keys below it, as in `tf.strings.to_hash_bucket_fast`.
_BUCKETS = np.uint64(2**63 - 1)


def open_arrays(data: Any, batch_size: int, shard: Any, views: int) -> Source:
    """Return the source of a cache for arrays, a `PyDataset` or a list of batches.

    Raises:
        TypeError: If the data have another form, or can be read only once.
        ValueError: If there are to be several views or shards.
    """
    for name, value, default in (("views", views, 1), ("shard", shard, None)):
        if value != default:
            backend.require_tensorflow(f"`{name}` is computed by tf.data", f"{name}={value}")
    batches = TeacherBatches(as_batches(data, "KnowledgeCache.build", batch_size, again=True))
    first = next(iter(batches), None)
    if first is None:
        raise CacheError("KnowledgeCache: the data set is empty. Received: no samples")
    inputs = tree.map_structure(array_spec, first.x)
    return Source(inputs, True, batches, inputs, lambda: first.x)


class TeacherBatches(Loader):
    """The batches for the teachers of a cache.

    Args:
        batches: Batches x, (x, y) or (x, y, sample_weight), in the same order each time; x may be a
            `kd.Keyed`.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        super().__init__(batches, count_batches(batches))

    def __iter__(self) -> Iterator[TeacherBatch]:
        first = 0
        for element in self._batches:
            x, key = split_key(split_element(element)[0])
            x = as_arrays(x)
            size = len(tree.flatten(x)[0])
            yield TeacherBatch(x, key_numbers(key, first, size), input_digests(x))
            first += size


def as_arrays(x: Any) -> Any:
    """Return the NumPy arrays of a structure of arrays or tensors."""

    def convert(part: Any) -> np.ndarray:
        tensor = keras.ops.is_tensor(part)
        return np.asarray(keras.ops.convert_to_numpy(part) if tensor else part)

    return tree.map_structure(convert, x)


def key_numbers(key: Any, first: int, size: int) -> np.ndarray:
    """Return the keys of a batch as int64: strings are hashed, and `None` means to count.

    Args:
        key: (batch,), or `None`.
        first: The index of the first sample.
        size: The number of samples.
    """
    if key is None:
        return np.arange(first, first + size)
    key = as_arrays(key)
    return hash_strings(key) if key.dtype.kind in "OSU" else key.astype("int64")


def input_digests(x: Any) -> np.ndarray:
    """Return a digest of each sample's inputs, exact to the last bit, as of a `tf.data.Dataset`.

    Returns:
        int64 array (batch,).
    """
    digests = [fingerprint64(_bytes_per_sample(part)) for part in tree.flatten(x)]
    if len(digests) == 1:
        return digests[0].view("int64")
    return fingerprint64(_bytes_per_sample(np.stack(digests, axis=1))).view("int64")


def _bytes_per_sample(part: np.ndarray) -> np.ndarray:
    part = hash_strings(part) if part.dtype.kind in "OSU" else part
    part = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("<"), copy=False))
    return part.reshape(len(part), -1).view("uint8").reshape(len(part), -1)


def hash_strings(texts: np.ndarray) -> np.ndarray:
    """Return a number for each string, int64, as `tf.strings.to_hash_bucket_fast`."""

    def number(text: Any) -> int:
        content = text if isinstance(text, bytes) else str(text).encode()
        return int(fingerprint64(np.frombuffer(content, "uint8")[np.newaxis])[0] % _BUCKETS)

    flat = [number(text) for text in texts.reshape(-1)]
    return np.array(flat, "int64").reshape(texts.shape)
