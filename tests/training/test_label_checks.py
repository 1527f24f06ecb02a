"""Labels and weights of each output, and labels out of range."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.training.graph_errors import readable_errors
from keras_kd.training.label_checks import (
    check_labels,
    per_output,
    sample_weights,
    sparse_classes,
)
from tests import toy

NAMES, WEIGHTS = ["one", "two"], np.array([1.0, 2.0])
SPARSE = keras.losses.SparseCategoricalCrossentropy


@pytest.mark.parametrize(
    ("structure", "name", "names", "expected"),
    [
        ("y", None, ["one"], "y"),
        ("y", "two", NAMES, "y"),
        ({"one": "a", "two": "b"}, "two", NAMES, "b"),
        ({"one": "a"}, "two", NAMES, None),
        ({"one": "a"}, None, ["one"], "a"),
        (["a", "b"], "two", NAMES, "b"),
        (("a",), None, ["one"], "a"),
        (["a", "b"], "hidden", NAMES, None),
        (["a"], "two", NAMES, None),
        (None, "one", NAMES, None),
    ],
)
def test_each_output_gets_its_part_of_a_structure(structure, name, names, expected):
    assert per_output(structure, name, names) == expected


@pytest.mark.parametrize(
    ("structure", "name", "expected"),
    [
        (None, "one", None),
        (WEIGHTS, "one", [1, 2]),
        ({"one": WEIGHTS, "two": WEIGHTS + 2}, "two", [3, 4]),
        ({"one": WEIGHTS}, "hidden", [1, 2]),
        ([WEIGHTS], "hidden", [1, 2]),
        ({"one": np.array([[1.0, 3.0], [2.0, 2.0]]), "two": None}, "one", [[1, 3], [2, 2]]),
        ({"one": WEIGHTS, "two": None}, "two", None),
        ({"one": None, "two": None}, "hidden", None),
        # At a hidden tap, the mean over the outputs, of which one without weights counts as 1.
        ({"one": WEIGHTS, "two": WEIGHTS + 2}, "hidden", [2, 3]),
        ([WEIGHTS, WEIGHTS + 2], "hidden", [2, 3]),
        ({"one": WEIGHTS, "two": None}, "hidden", [1, 1.5]),
        ({"one": np.array([[1.0, 3.0], [2.0, 2.0]]), "two": WEIGHTS}, "hidden", [1.5, 2]),
    ],
)
def test_sample_weights_of_a_tap(structure, name, expected):
    found = sample_weights(structure, name, NAMES)
    if expected is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, expected)


def test_weights_of_unknown_outputs_are_rejected():
    with pytest.raises(ValueError, match=r"given for the outputs \['one', 'two'\].*\['three'\]"):
        sample_weights({"one": WEIGHTS, "three": WEIGHTS}, "hidden", NAMES)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (SPARSE(), {"one": (4, None), "two": (3, None)}),
        ("sparse_categorical_crossentropy", {"one": (4, None), "two": (3, None)}),
        ({"one": SPARSE(ignore_class=255), "two": "mse"}, {"one": (4, 255)}),
        (["mse", keras.losses.sparse_categorical_crossentropy], {"two": (3, None)}),
        (keras.losses.CategoricalCrossentropy(), {}),
        (None, {}),
    ],
)
def test_outputs_trained_on_class_indices_are_found(loss, expected):
    assert sparse_classes(loss, {"one": (None, 4), "two": (None, 3)}) == expected


def test_an_output_of_unknown_width_is_not_checked():
    assert sparse_classes(SPARSE(), {"one": (None, None)}) == {}


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 3, kd.UNLABELED, 255]),
        np.array([[0.0], [np.nan], [3.0]]),
        np.zeros((2, 3, 3), "int64"),
    ],
)
def test_labels_in_range_pass_unchanged(labels):
    allowed = {"one": (4, 255)}
    x = np.zeros(len(labels))
    assert check_labels(x, labels, allowed, ["one"]) is x
    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(2)
    (_, first), *_ = check_labels(data, None, allowed, ["one"])
    np.testing.assert_array_equal(first, labels[:2])


@pytest.mark.parametrize(("wrong", "least", "greatest"), [(4, 0, 4), (-2, -2, 3)])
def test_labels_out_of_range_are_rejected_in_arrays_and_data_sets(wrong, least, greatest):
    y = np.array([0, 3, wrong])
    message = f"'two' has 4 classes.*from 0 to 3 .*Received labels from {least} to {greatest}"
    allowed = {"two": (4, None)}
    with pytest.raises(ValueError, match=message):
        check_labels(np.zeros(3), {"one": y, "two": y}, allowed, NAMES)
    data = tf.data.Dataset.from_tensor_slices((np.zeros(3), (y, y), np.ones(3))).batch(3)
    checked = check_labels(data, None, allowed, NAMES)
    with pytest.raises(ValueError, match=message), readable_errors():
        next(iter(checked))


def test_a_data_set_without_labels_is_returned_unchanged():
    data = tf.data.Dataset.from_tensor_slices(np.zeros(3)).batch(3)
    assert check_labels(data, None, {"one": (4, None)}, ["one"]) is data


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
def test_fit_rejects_labels_out_of_range(kind):
    x, y = toy.vectors()
    y[3] = 4
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher"))
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    given = (x, y) if kind == "arrays" else (tf.data.Dataset.from_tensor_slices((x, y)).batch(8),)
    with pytest.raises(ValueError, match=r"'head' has 4 classes.*Received labels from 0 to 4"):
        model.fit(*given, verbose=0)


def test_fit_accepts_the_class_that_the_loss_ignores():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (keras.Model(inputs, layers.Conv2D(3, 1)(inputs)) for _ in range(2))
    model = kd.Distiller(student, teacher)
    model.compile("sgd", SPARSE(from_logits=True, ignore_class=255), run_eagerly=True)
    x, _ = toy.data(8)
    logs = model.fit(x, np.full((8, 6, 6), 255), verbose=0).history
    assert logs["student_loss"] == [0.0]
