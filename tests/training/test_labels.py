"""Class indices from every form of labels."""

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.training.labels import class_indices

NAN = np.nan


@pytest.mark.parametrize(
    ("labels", "shape", "expected"),
    [
        ([0, 3, -1], (None, 4), [0, 3, -1]),
        ([[0], [3], [-1]], (3, 4), [0, 3, -1]),
        (np.array([2, 255], "uint8"), (None, 300), [2, 255]),
        ([0.0, NAN, 2.0], (None, 4), [0, -1, 2]),
        ([[1.0, 0.0], [0.2, 0.8], [NAN, NAN], [0.0, 0.0]], (None, 2), [0, 1, -1, -1]),
        ([[0, 1, 0], [0, 0, 0]], (None, 3), [1, -1]),
        ([[False, True], [False, False]], (None, 2), [1, -1]),
        ([[1], [0]], (None, 1), [1, 0]),
        ([[[0, 2], [-1, 1]]], (None, 2, 2, 3), [[[0, 2], [-1, 1]]]),
        ([[[[0.0, 1.0], [NAN, NAN]]]], (None, 1, 2, 2), [[[1, -1]]]),
    ],
    ids=[
        *("indices", "column", "unsigned", "floats", "one-hot", "integer one-hot"),
        *("boolean one-hot", "one unit", "map", "one-hot map"),
    ],
)
def test_every_form_of_labels_gives_class_indices(labels, shape, expected):
    found = class_indices(np.asarray(labels), shape)
    assert found.dtype == "int32"
    np.testing.assert_array_equal(found, expected)


def test_the_index_of_a_missing_label_is_the_public_constant():
    assert class_indices(np.array([NAN]), (None, 4))[0] == kd.UNLABELED


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 4), ()])
def test_labels_of_another_shape_are_rejected(shape):
    with pytest.raises(ValueError, match=r"Labels must be integers .* Received: labels of shape"):
        class_indices(np.zeros(shape), (None, 4))
