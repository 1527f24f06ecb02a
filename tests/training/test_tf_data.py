"""The parts and the options of `tf.data` data sets."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.training.tf_data import (
    DenseSpec,
    array_specs,
    call_with_first_batch,
    dense_spec,
    disable_autotune,
    element_parts,
    has_known_rank,
    is_dataset,
    is_ragged_or_sparse,
    repeats_forever,
)

DATA = tf.data.Dataset.range(6).batch(2)


def test_data_sets_are_recognized():
    assert is_dataset(DATA)
    assert not is_dataset([1, 2])


def test_only_an_endless_repetition_repeats_forever():
    assert repeats_forever(DATA.repeat())
    assert not repeats_forever(DATA.repeat(2))
    assert not repeats_forever(DATA.filter(lambda _: True))


def test_autotuning_is_disabled_unless_the_user_enabled_it():
    assert disable_autotune(DATA).options().autotune.enabled is False
    options = tf.data.Options()
    options.autotune.enabled = True
    enabled = DATA.with_options(options)
    assert disable_autotune(enabled) is enabled
    np.testing.assert_array_equal(list(disable_autotune(DATA)), [[0, 1], [2, 3], [4, 5]])


def test_digits_are_loaded_without_autotuning():
    assert kd.datasets.load("digits").options().autotune.enabled is False


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_missing_parts_of_an_element_are_none(parts):
    data = tf.data.Dataset.from_tensor_slices(tuple(np.arange(4.0) + i for i in range(parts)))
    found = element_parts(data if parts > 1 else data.map(lambda x: x))
    assert [part is None for part in found] == [False] + [i > parts for i in (2, 3)]


def test_a_dict_is_x():
    data = tf.data.Dataset.from_tensor_slices({"a": [1.0], "b": [2]})
    assert element_parts(data) == (data.element_spec, None, None)


def test_arrays_have_specifications_of_batches():
    x, y = {"a": np.zeros((4, 3), "float32")}, tf.zeros((4,), "int32")
    found = array_specs(x, y, None)
    expected = {"a": DenseSpec((None, 3), "float32")}, DenseSpec((None,), "int32"), None
    assert found == expected


@pytest.mark.parametrize("dtype", ["U", "S", object])
def test_arrays_of_text_are_strings(dtype):
    names = np.array(["cat", "dog"], dtype)
    assert array_specs(names, None, None)[0] == DenseSpec((None,), "string")


def test_other_data_have_no_specification():
    assert array_specs([[1.0]], None, None) is None
    assert array_specs(None, None, None) is None


def test_dense_means_one_tensor_of_known_rank():
    assert dense_spec(tf.TensorSpec((None, 3), tf.int64)) == DenseSpec((None, 3), "int64")
    assert dense_spec(tf.TensorSpec(None)) is None
    assert dense_spec(tf.RaggedTensorSpec((None, None))) is None
    assert dense_spec({"a": tf.TensorSpec((None,))}) is None
    assert dense_spec(None) is None


def test_ragged_and_sparse_tensors_are_no_arrays():
    ragged, sparse = tf.ragged.constant([[1.0], []]), tf.sparse.from_dense([[0.0, 1.0]])
    for value in (ragged, sparse):
        assert is_ragged_or_sparse(value)
        assert array_specs(value, None, None) is None
    assert not is_ragged_or_sparse(tf.zeros(3))


def test_the_rank_of_a_tensor_may_be_unknown_in_a_graph():
    found = []

    @tf.function(input_signature=[tf.TensorSpec(None), tf.TensorSpec((None, 3))])
    def trace(unknown, known):
        found.extend([has_known_rank(unknown), has_known_rank(known)])

    trace.get_concrete_function()
    assert found == [False, True]
    assert has_known_rank(np.zeros(3))


def test_a_function_gets_the_first_batch_once():
    seen = []

    def note(*parts):
        seen.append([part.tolist() for part in parts])
        return np.bool_(True)

    data = tf.data.Dataset.zip((DATA, DATA.map(lambda x: {"y": x + 1})))
    found = list(call_with_first_batch(data, note))
    assert seen == [[[0, 1], [1, 2]]]
    for (x, y), (same_x, same_y) in zip(data, found, strict=True):
        np.testing.assert_array_equal(x, same_x)
        np.testing.assert_array_equal(y["y"], same_y["y"])


def test_a_batch_of_several_tensors_per_part_stays_whole():
    seen = []

    def note(*parts):
        seen.append(len(parts))
        return np.bool_(True)

    ragged = tf.data.Dataset.from_tensors(tf.ragged.constant([[1, 2], [3]]))
    (found,) = call_with_first_batch(ragged, note)
    assert found.to_list() == [[1, 2], [3]]
    assert len(seen) == 1
