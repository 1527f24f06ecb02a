"""Keys of samples and digests of their inputs."""

from typing import Any, TypeAlias

import tensorflow as tf
from keras import tree

from keras_kd.cache.elements import split_element
from keras_kd.teachers.knowledge import Keyed
from keras_kd.training.batches import as_samples_or_batches

Dataset: TypeAlias = tf.data.Dataset

#: Number of single samples that are processed together.
CHUNK = 256


def keyed(dataset: Dataset) -> Dataset:
    """Give each sample its index as a key.

    Apply it *before* `shuffle`, to single samples that come in the same order each time. The key
    stays with its sample through shuffle, repeat, batch and map, and `KnowledgeCache.join` uses it
    to find the teacher outputs. If samples have an identifier of their own, such as `tfds_id`, map
    them to `(kd.Keyed(x, key), y)` instead.

    Args:
        dataset: Single samples x, (x, y) or (x, y, sample_weight), as a `tf.data.Dataset` or as
            arrays.

    Returns:
        The same samples with a `kd.Keyed` in place of x.

    Raises:
        TypeError: If the data set has another form.
        ValueError: If the samples already have keys.

    Example:
        >>> train = cache.join(kd.keyed(samples).shuffle(60_000).batch(128))
    """
    dataset = as_samples_or_batches(dataset, "keyed", unbatch=True)
    if isinstance(split_element(dataset.element_spec)[0], Keyed):
        raise ValueError("keyed: the samples already have keys. Received: x is a kd.Keyed")
    if not has_fixed_shapes(dataset):
        return dataset.enumerate().map(lambda key, sample: _add_key(sample, key))

    # Mapping chunks and unbatching them is much faster than mapping each sample.
    def add_keys(i: Any, chunk: Any) -> tuple:
        size = tf.shape(tree.flatten(chunk)[0], tf.int64)[0]
        return _add_key(chunk, i * CHUNK + tf.range(size))

    numbered = dataset.batch(CHUNK).enumerate().map(add_keys).unbatch()
    return assert_cardinality(numbered, dataset.cardinality())


def number_batches(dataset: Dataset) -> Dataset:
    """Give each sample of batches in a fixed order its index as a key."""

    def add_keys(first: Any, element: Any) -> tuple:
        x, rest = split_element(element)
        size = tf.shape(tree.flatten(x)[0], tf.int64)[0]
        return first + size, (Keyed(x, first + tf.range(size)), *rest)

    return dataset.scan(tf.constant(0, tf.int64), add_keys)


def has_fixed_shapes(samples: Dataset) -> bool:
    """Return whether all samples have the same, known shapes, so that they can be batched."""
    return all(spec.shape.is_fully_defined() for spec in tree.flatten(samples.element_spec))


def is_infinite(dataset: Dataset) -> bool:
    """Return whether a data set repeats without end."""
    return int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY


def assert_cardinality(dataset: Dataset, count: Any) -> Dataset:
    """Return the data set with a known number of elements; a negative number means unknown."""
    number = tf.get_static_value(tf.convert_to_tensor(count, tf.int64))
    if number is None or number < 0:  # None within a function of another data set.
        return dataset
    return dataset.apply(tf.data.experimental.assert_cardinality(number))


def key_numbers(key: Any) -> Any:
    """Return keys as int64; strings are hashed."""
    if key.dtype == tf.string:
        return tf.strings.to_hash_bucket_fast(key, 2**63 - 1)
    return tf.cast(key, tf.int64)


def input_digests(x: Any) -> Any:
    """Return a digest of each sample's inputs, exact to the last bit.

    Returns:
        int64 tensor (batch,).
    """
    digests = [tf.fingerprint(_flatten_samples(part)) for part in tree.flatten(x)]
    joint = digests[0] if len(digests) == 1 else tf.fingerprint(tf.concat(digests, axis=1))
    return tf.bitcast(joint, tf.int64)


def check_dense(x: Any, owner: str) -> None:
    """Raise a `TypeError` if an input is ragged or sparse."""
    for spec in tree.flatten(x):
        if not isinstance(spec, tf.TensorSpec):
            raise TypeError(
                f"{owner}: the inputs must be dense tensors; pad all samples to the same size "
                f"first. Received: {type(spec).__name__}"
            )


def _add_key(sample: Any, key: Any) -> tuple:
    x, rest = split_element(sample)
    return (Keyed(x, key), *rest)


def _flatten_samples(part: Any) -> Any:
    if part.dtype == tf.string:
        part = tf.strings.to_hash_bucket_fast(part, 2**63 - 1)
    if part.dtype == tf.bool:
        part = tf.cast(part, tf.uint8)
    return tf.reshape(part, (tf.shape(part)[0], -1))
