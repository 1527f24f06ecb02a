"""Data of every form are read as batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_kd.training.batches import as_batches, as_samples_or_batches, count_batches, unpack_x_y

X, Y = np.arange(10.0).reshape(5, 2), np.arange(5)


class Sequence(keras.utils.PyDataset):
    def __init__(self, count=3):
        super().__init__()
        self.count = count

    @property
    def num_batches(self):
        return self.count

    def __getitem__(self, index):
        return X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]


def read(data, **arguments):
    """The batches, and those of a second pass."""
    batches = as_batches(data, "evaluate", batch_size=2, **arguments)
    return list(batches), list(batches)


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        Sequence(),
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(2),
        [(X[:2], Y[:2]), (X[2:4], Y[2:4]), (X[4:], Y[4:])],
        (tf.constant(X), Y),
    ],
    ids=["arrays", "sequence", "dataset", "list", "tensors"],
)
def test_batches_of_every_form_are_equal_and_come_again(data):
    for batches in read(data):
        assert [len(y) for _, y in batches] == [2, 2, 1]
        np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), X)
        np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), Y)


def test_x_alone_is_an_array_a_dict_or_a_list_of_the_models_inputs():
    assert [x.shape for x in read(X)[0]] == [(2, 2), (2, 2), (1, 2)]
    first = read({"a": X, "b": Y})[0][0]
    np.testing.assert_array_equal(first["b"], Y[:2])
    first = read([X, Y], inputs=2)[0][0]
    np.testing.assert_array_equal(first[1], Y[:2])
    assert [x.shape for x in read([X, X])[0]] == [(5, 2), (5, 2)]


def test_missing_parts_stay_missing():
    x, y, weights = read((X, None, Y))[0][0]
    np.testing.assert_array_equal(x, X[:2])
    assert y is None
    np.testing.assert_array_equal(weights, Y[:2])


@pytest.mark.parametrize("data", [None, "data", 3, {}, {"a": "b"}, Sequence(None)])
def test_other_data_are_rejected(data):
    with pytest.raises(TypeError, match="evaluate: the data must be .*Received: "):
        as_batches(data, "evaluate")


def test_arrays_of_different_lengths_are_rejected():
    with pytest.raises(ValueError, match=r"the same number of samples .* Received: \[5, 4\]"):
        as_batches((X, Y[:4]), "evaluate")


def test_a_generator_is_read_once():
    batches = [(X, Y)]
    assert len(list(as_batches(iter(batches), "evaluate"))) == 1
    with pytest.raises(TypeError, match="read more than once.*list_iterator"):
        as_batches(iter(batches), "evaluate", again=True)


def test_arrays_become_samples_and_batches_stay_batches():
    samples = as_samples_or_batches((X, Y), "build")
    assert [tuple(spec.shape) for spec in samples.element_spec] == [(2,), ()]
    assert int(samples.cardinality()) == 5
    for data in (Sequence(), [(X[:2], Y[:2]), (X[2:4], Y[2:4]), (X[4:], Y[4:])]):
        batches = as_samples_or_batches(data, "build")
        assert [tuple(spec.shape) for spec in batches.element_spec] == [(None, 2), (None,)]
        assert int(batches.cardinality()) == 3
        for _ in range(2):
            np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), X)
    dataset = tf.data.Dataset.range(3)
    assert as_samples_or_batches(dataset, "build") is dataset
    with pytest.raises(ValueError, match="build: .* at least one batch"):
        as_samples_or_batches([], "build")


def test_the_number_of_batches_is_known_where_the_data_tell():
    arrays = as_batches((X, Y), "evaluate", batch_size=2)
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(2)
    assert [count_batches(data) for data in (arrays, dataset, Sequence(), [X])] == [3, 3, 3, 1]
    assert count_batches(dataset.filter(lambda x: True)) is None
    assert count_batches(dataset.repeat()) is None
    assert count_batches(iter([X])) is None


def test_several_inputs_stay_apart():
    samples = as_samples_or_batches(([X, Y], Y, None), "build")
    assert [tuple(spec.shape) for spec in samples.element_spec[0]] == [(2,), ()]
    (first, second), label = next(iter(samples))
    np.testing.assert_array_equal(first, X[0])
    assert (second, label) == (0, 0)
    batches = as_samples_or_batches([([X, Y], Y)], "build")
    assert [tuple(spec.shape) for spec in batches.element_spec[0]] == [(None, 2), (None,)]
    assert len(list(as_samples_or_batches([([X, Y], Y)], "keyed", unbatch=True))) == 5


def test_a_list_is_several_inputs_and_a_tuple_x_and_y():
    assert unpack_x_y([1, 2]) == ([1, 2], None)
    assert unpack_x_y((1, 2, 3)) == (1, 2)
