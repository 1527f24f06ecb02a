"""Batches of arrays: their keys and digests are those of a `tf.data.Dataset`."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.cache import keys
from keras_kd.cache.array_batches import TeacherBatches, input_digests, key_numbers, open_arrays
from tests import toy

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(4, 5, 3)).astype("float32")


@pytest.mark.parametrize(
    "x",
    [
        IMAGES,
        IMAGES.astype("float16"),
        RNG.integers(0, 256, (4, 7)).astype("uint8"),
        np.arange(8).reshape(4, 2),
        np.array([[True, False], [False, False]]),
        np.array([["a", "bc"], ["", "déjà"]]),
        {"a": IMAGES, "b": np.arange(4)},
        [IMAGES, IMAGES[:, 0]],
    ],
    ids=["float32", "float16", "uint8", "int64", "bool", "string", "dict", "list"],
)
def test_digests_are_those_of_a_data_set(x):
    expected = keys.input_digests(tf.nest.map_structure(tf.constant, x))
    np.testing.assert_array_equal(input_digests(x), expected)


def test_keys_are_counted_or_given():
    np.testing.assert_array_equal(key_numbers(None, 3, 2), [3, 4])
    np.testing.assert_array_equal(key_numbers(np.array([7, -1], "int32"), 3, 2), [7, -1])
    texts = np.array(["a", "b"])
    expected = keys.key_numbers(tf.constant(texts))
    np.testing.assert_array_equal(key_numbers(texts, 0, 2), expected)


def test_batches_are_numbered_and_can_be_read_again():
    x, y = toy.vectors(10)
    batches = TeacherBatches(toy.Batches((x, y), 5))
    assert batches.num_batches == 2
    for _ in range(2):
        found = list(batches)
        np.testing.assert_array_equal(np.concatenate([b.keys for b in found]), np.arange(10))
        np.testing.assert_array_equal(np.concatenate([b.x for b in found]), x)
    (keyed,) = TeacherBatches([(kd.Keyed(x, np.arange(10) + 5), y)])
    np.testing.assert_array_equal(keyed.keys, np.arange(10) + 5)


def test_a_source_of_arrays_has_batches_of_the_given_size():
    source = open_arrays(toy.vectors(10), 4, None, 1)
    assert [len(batch.keys) for batch in source.batches] == [4, 4, 2]
    assert (source.batched, source.x.shape, source.x.dtype) == (True, (None, 5), "float32")
    np.testing.assert_array_equal(source.example(), toy.vectors(10)[0][:4])
    with pytest.raises(ValueError, match="empty"):
        open_arrays([], 4, None, 1)
