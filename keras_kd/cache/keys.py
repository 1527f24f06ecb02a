"""Samples that carry their key, and digests of their inputs: what ties knowledge to its sample."""

from typing import Any

import tensorflow as tf
from keras import tree

from keras_kd.teachers.knowledge import Keyed

#: Samples that are taken together where single ones are given: one call for all of them.
CHUNK = 256


def keyed(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Gives each sample its number as a key that travels with it.

    Use it *before* `shuffle`, on single samples that come in the same order each time. Then
    shuffle, repeat, batch and map as you like; `KnowledgeCache.join` finds the knowledge by the
    key. Where the samples have an identity of their own, such as `tfds_id`, map them to
    `(kd.Keyed(x, key), y)` instead.

    Args:
        dataset: Single samples x, (x, y) or (x, y, sample_weight).

    Returns:
        The same samples with a `kd.Keyed` in place of x.

    Raises:
        TypeError: When it is no `tf.data.Dataset`.
        ValueError: When the samples have keys already.

    Example:
        >>> train = cache.join(kd.keyed(samples).shuffle(60_000).batch(128))
    """
    require_dataset(dataset, "keyed")
    if isinstance(split(dataset.element_spec)[0], Keyed):
        raise ValueError("keyed: the samples have keys already. Received: x is a kd.Keyed")
    if not has_one_size(dataset):
        numbered = dataset.enumerate()
        return numbered.map(lambda key, sample: _with_key(sample, key))

    # A map over each sample costs much more than one over chunks that are taken apart again.
    def number(i: Any, chunk: Any) -> tuple:
        size = tf.shape(tree.flatten(chunk)[0], tf.int64)[0]
        return _with_key(chunk, i * CHUNK + tf.range(size))

    count = dataset.cardinality()
    numbered = dataset.batch(CHUNK).enumerate().map(number).unbatch()
    return (
        numbered.apply(tf.data.experimental.assert_cardinality(count)) if count >= 0 else numbered
    )


def numbered_batches(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Batches that come in the same order each time, each sample with its number as the key."""

    def number(first: Any, element: Any) -> tuple:
        x, rest = split(element)
        size = tf.shape(tree.flatten(x)[0], tf.int64)[0]
        return first + size, (Keyed(x, first + tf.range(size)), *rest)

    return dataset.scan(tf.constant(0, tf.int64), number)


def has_one_size(samples: tf.data.Dataset) -> bool:
    """Whether all samples are known to have the same shapes, so that they can be put together."""
    return all(spec.shape.is_fully_defined() for spec in tree.flatten(samples.element_spec))


def split(element: Any) -> tuple[Any, tuple]:
    """The inputs of a data set's element (or of its specification), and what follows them."""
    return (element[0], element[1:]) if type(element) is tuple else (element, ())


def key_of(x: Any) -> tuple[Any, Any]:
    """The inputs without their key, and the key or `None`."""
    return (x.x, x.key) if isinstance(x, Keyed) else (x, None)


def key_numbers(key: Any) -> Any:
    """Keys as int64: whole numbers as they are, strings by a digest."""
    if key.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(key, 2**63 - 1)
    return tf.cast(key, tf.int64)


def input_digests(x: Any) -> Any:
    """A digest of each sample's inputs, to the last bit.

    Args:
        x: A batch: tensors, or a structure of them.

    Returns:
        int64 tensor (batch,).
    """
    digests = [_fingerprint(_bytes(part)) for part in tree.flatten(x)]
    joint = digests[0] if len(digests) == 1 else _fingerprint(tf.concat(digests, axis=1))
    return tf.bitcast(joint, tf.int64)


def require_dataset(dataset: Any, what: str) -> None:
    """Refuses what is no `tf.data.Dataset`.

    Raises:
        TypeError: When it is none.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(
            f"{what}: expected a tf.data.Dataset; make one of arrays with "
            "tf.data.Dataset.from_tensor_slices((x, y)). "
            f"Received: {type(dataset).__name__}"
        )


def require_dense(x: Any, what: str) -> None:
    """Refuses inputs that are no plain tensors.

    Raises:
        TypeError: When one is ragged or sparse.
    """
    for spec in tree.flatten(x):
        if not isinstance(spec, tf.TensorSpec):
            raise TypeError(
                f"{what}: the inputs must be dense tensors; pad them to one size first, the same "
                f"for each sample. Received: {type(spec).__name__}"
            )


def _with_key(sample: Any, key: Any) -> tuple:
    x, rest = split(sample)
    return (Keyed(x, key), *rest)


def _bytes(part: Any) -> Any:
    if part.dtype == tf.string:
        part = tf.strings.to_hash_bucket_fast(part, 2**63 - 1)
    if part.dtype == tf.bool:
        part = tf.cast(part, tf.uint8)
    return tf.reshape(part, (tf.shape(part)[0], -1))


def _fingerprint(rows: Any) -> Any:
    return tf.fingerprint(rows)
