"""The elements of data, and the batches for teachers."""

import numpy as np

import keras_kd as kd
from keras_kd.cache.elements import TeacherBatch, split_element, split_key


def test_elements_are_split_into_inputs_keys_and_the_rest():
    assert split_element((1, 2, 3)) == (1, (2, 3))
    assert split_element({"a": 1}) == ({"a": 1}, ())
    keyed = kd.Keyed(1, 2)
    assert split_element(keyed) == (keyed, ())  # It is a tuple too.
    assert split_key(keyed) == (1, 2)
    assert split_key(1) == (1, None)


def test_the_views_of_the_chosen_samples_are_selected():
    x = {"a": np.arange(6), "b": np.arange(12).reshape(6, 2)}
    chosen = TeacherBatch(x, np.arange(3), None).select(np.array([True, False, True]), views=2)
    np.testing.assert_array_equal(chosen["a"], [0, 1, 4, 5])
    np.testing.assert_array_equal(chosen["b"][:, 0], [0, 2, 8, 10])
