"""Keys of samples and digests of inputs."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.cache.keys import (
    CHUNK,
    check_dense,
    input_digests,
    is_infinite,
    key_numbers,
    number_batches,
)

X = np.arange(2 * CHUNK + 3)


def keys_and_inputs(dataset):
    elements = list(dataset.as_numpy_iterator())
    return [[getattr(element[0], field) for element in elements] for field in ("key", "x")]


def test_each_sample_gets_its_index():
    numbered = kd.keyed(tf.data.Dataset.from_tensor_slices((X, X)))
    keys, inputs = keys_and_inputs(numbered)
    np.testing.assert_array_equal(keys, X)
    np.testing.assert_array_equal(inputs, X)
    assert int(numbered.cardinality()) == len(X)


def test_samples_of_different_sizes_get_their_index():
    dataset = tf.data.Dataset.range(5).map(lambda i: (tf.range(i), i))
    keys, inputs = keys_and_inputs(kd.keyed(dataset))
    assert keys == [0, 1, 2, 3, 4]
    assert [len(x) for x in inputs] == keys


def test_samples_of_batches_get_their_index():
    dataset = tf.data.Dataset.from_tensor_slices((X, X)).batch(7)
    keys, inputs = keys_and_inputs(number_batches(dataset))
    np.testing.assert_array_equal(np.concatenate(keys), np.concatenate(inputs))


def test_keys_are_integers_or_strings():
    np.testing.assert_array_equal(key_numbers(tf.constant([3, -4], tf.int32)), [3, -4])
    hashed = key_numbers(tf.constant(["a", "b", "a"])).numpy()
    assert hashed.dtype == np.int64
    assert hashed[0] == hashed[2] != hashed[1]


def digests(*parts):
    return input_digests(parts if len(parts) > 1 else parts[0]).numpy()


def test_digests_depend_on_every_bit_of_every_input():
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
    changed = x.copy()
    changed[1, 3, 1] = np.nextafter(changed[1, 3, 1], 1)
    same = [True, False, True]
    np.testing.assert_array_equal(digests(x) == digests(changed), same)
    np.testing.assert_array_equal(digests(x, x) == digests(x, changed), same)
    assert digests(x).dtype == np.int64
    # Stored caches depend on this value.
    assert digests(np.arange(4, dtype="int64")[None]) == [-7440234946344514867]


@pytest.mark.parametrize("values", [[[True], [False]], [["a"], ["b"]]], ids=["bool", "string"])
def test_digests_of_other_dtypes(values):
    one, other = digests(tf.constant(values))
    assert one != other


def test_invalid_data_sets(samples):
    with pytest.raises(TypeError, match="keyed: the data must be .* Received: None"):
        kd.keyed(None)
    with pytest.raises(ValueError, match="already have keys"):
        kd.keyed(kd.keyed(samples))
    ragged = tf.RaggedTensorSpec((None, None))
    with pytest.raises(TypeError, match="must be dense tensors.* Received: RaggedTensorSpec"):
        check_dense({"a": ragged}, "join")
    assert is_infinite(samples.repeat())
    assert not is_infinite(samples)
