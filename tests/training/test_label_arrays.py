"""Labels as arrays, by the task of their output."""

import numpy as np
import pytest

from keras_kd.training.label_arrays import LabelFormError, read_labels

NAN = np.nan


def read(task, labels, shape, **options):
    targets, known = read_labels("y", task, np.asarray(labels), shape, **options)
    return np.where(known, targets, -9).tolist()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 2, -1], [0, 2, -9]),
        ([[0], [2], [-1]], [0, 2, -9]),
        ([0.0, 2.0, NAN], [0, 2, -9]),
        ([[1, 0, 0], [0, 0, 1], [0, 0, 0]], [0, 2, -9]),
        ([[0.9, 0.1, 0], [0, 0.2, 0.8], [NAN, NAN, NAN]], [0, 2, -9]),
    ],
)
def test_classes_are_numbers_or_one_hot_rows(labels, expected):
    assert read("classes", labels, (3, 3)) == expected


def test_a_void_class_is_not_counted():
    labels = np.array([[0, 255], [255, 1]], "uint8")
    assert read("classes", labels, (2, 2, 3), ignore_class=255) == [[0, -9], [-9, 1]]
    assert read("binary", labels, (2, 2, 1), ignore_class=255) == [[0, -9], [-9, 1]]


@pytest.mark.parametrize("labels", [[0, 1, -1], [[0], [1], [-1]], [0.0, 1.0, NAN]])
def test_yes_or_no_labels_have_one_value_for_each_unit(labels):
    assert read("binary", labels, (3, 1)) == [0, 1, -9]
    assert read("binary", [True, False, True], (3, 1)) == [1, 0, 1]


def test_independent_labels_may_be_missing_one_by_one():
    assert read("labels", [[0, 1, NAN], [NAN, NAN, 1]], (2, 3)) == [[0, 1, -9], [-9, -9, 1]]
    assert read("labels", [[0, 1, -1], [1, 1, 1]], (2, 3)) == [[0, 1, -9], [1, 1, 1]]


def test_numbers_are_any_number_also_minus_one():
    assert read("values", [[-1.0, 0.5], [NAN, 3]], (2, 2)) == [[-1, 0.5], [-9, 3]]
    assert read("values", [-1, 2], (2, 1)) == [[-1], [2]]


@pytest.mark.parametrize(
    ("task", "labels", "shape", "message"),
    [
        ("classes", [[1, 1, 0], [0, 0, 1]], (2, 3), "mutually exclusive classes: expected class"),
        ("classes", [0.5, 1], (2, 3), "expected class numbers"),
        ("classes", [0, 1, 2], (2, 3), r"Received: labels of shape \(3,\).*from 0 to 2"),
        ("classes", ["cat", "dog"], (2, 3), "dtype <U3"),
        ("binary", [0.3, 1], (2, 1), "a yes-or-no question: expected 0 or 1"),
        ("binary", [0, 2], (2, 1), "from 0 to 2"),
        ("labels", [0, 2], (2, 3), r"independent labels.*shape \(2, 3\), one for each label"),
        ("labels", [[0, 2, 0], [0, 1, 0]], (2, 3), "independent labels"),
        ("values", [1, 2], (2, 3), r"numbers \(regression\): expected numbers in the shape"),
    ],
)
def test_labels_of_another_task_are_rejected_with_the_argument_that_declares_it(
    task, labels, shape, message
):
    with pytest.raises(LabelFormError, match=rf"(?s){message}.*declare `outputs=`"):
        read(task, labels, shape)


@pytest.mark.parametrize("labels", [[0, 3], [0, -2], [255, 1]])
def test_class_numbers_out_of_range_are_rejected_with_the_argument_that_ignores_them(labels):
    with pytest.raises(ValueError, match="class numbers from 0 to 2.*Pass ignore_class=") as error:
        read("classes", labels, (2, 3))
    assert not isinstance(error.value, LabelFormError)


def test_without_an_axis_of_classes_any_number_is_a_class():
    assert read("classes", [0, 70], (2,), known_classes=False) == [0, 70]
    assert read("classes", np.eye(9)[[3, 4]], (2,), known_classes=False) == [3, 4]
