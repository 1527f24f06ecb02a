"""The data of a search in an order of their own."""

import numpy as np
import pytest
import tensorflow as tf

from keras_kd.budget.samples import Samples, read_samples

X = np.random.default_rng(0).normal(size=(30, 4)).astype("float32")
Y = np.arange(30)


def assert_same(one, other):
    for a, b in zip(one.parts, other.parts, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


def test_the_order_does_not_depend_on_that_of_the_data():
    shuffled = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(30).batch(7)
    one = read_samples((X, Y), "`train`")
    assert_same(one, read_samples(shuffled, "`train`"))
    assert (one.y != Y).any()
    assert set(zip(one.y, one.x[:, 0], strict=True)) == set(zip(Y, X[:, 0], strict=True))


def test_weights_and_several_inputs_stay_with_their_samples():
    read = read_samples(({"a": X, "b": X[:, :1]}, Y, Y / 2), "`train`")
    np.testing.assert_array_equal(read.weights, read.y / 2)
    np.testing.assert_array_equal(read.x["b"], read.x["a"][:, :1])
    some = read.take(slice(2, 5))
    assert len(some) == 3
    assert [len(x["a"]) for x, _ in some.batches(2)] == [2, 1]
    assert isinstance(some.arrays, tuple)
    assert read.without_labels().arrays is read.x


def test_data_that_cannot_be_read_are_rejected(monkeypatch):
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(5).repeat()
    with pytest.raises(ValueError, match="`train` must end"):
        read_samples(endless, "`train`")
    with pytest.raises(ValueError, match="at least one sample"):
        read_samples([], "`train`")
    monkeypatch.setattr("keras_kd.budget.samples._MOST", 100)
    with pytest.raises(ValueError, match="must fit into memory"):
        read_samples((X, Y), "`train`")


def test_labels_may_be_missing():
    assert read_samples(X, "`train`").y is None
    assert Samples(X).arrays is X
