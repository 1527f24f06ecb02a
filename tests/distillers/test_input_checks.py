"""Batches that do not match the student are rejected before training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_kd.distillers.input_checks import batch_specs, check_batches, has_single_samples
from keras_kd.models.inputs import model_inputs
from keras_kd.training.labels import LabelReader
from tests import toy
from tests.distillers.models import distiller


@pytest.fixture(scope="module")
def student():
    return toy.mlp("student")


def check(student, x, y=None, weights=None, loss="sparse_categorical_crossentropy"):
    labels = LabelReader(loss, {"head": (None, 4)}) if loss else None
    models = [] if student is None else [("The student 'student'", model_inputs(student))]
    check_batches((x, y, weights), models, labels)


def as_dataset(*parts):
    present = tuple(part for part in parts if part is not None)
    data = tf.data.Dataset.from_tensor_slices(present[0] if len(present) == 1 else present)
    return data.batch(4)


X, Y, WEIGHTS = np.zeros((8, 5), "float32"), np.zeros(8, int), np.ones(8)


@pytest.mark.parametrize("form", ["arrays", "dataset"])
@pytest.mark.parametrize(
    ("parts", "error", "sentence"),
    [
        ((np.zeros((8, 3)), Y), ValueError, r"inputs of shape \(None, 5\)\. .*\(None, 3\)$"),
        ((np.zeros((8, 2, 5)), Y), ValueError, r"\(None, 2, 5\); is it batched\?"),
        ((X, np.array(["cat"] * 8)), TypeError, "Labels must be numbers.* keras.layers.String"),
        ((X,), ValueError, "A loss is compiled, so labels are required.*compile with loss=None"),
        ((X, np.eye(4)[Y]), ValueError, "expects class indices, .* use keras.losses.Cat"),
        ((X, Y, np.ones((8, 2))), ValueError, r"one number per sample.* shape \(None, 2\)"),
    ],
)
def test_data_that_do_not_match_the_student_are_rejected(student, form, parts, error, sentence):
    with pytest.raises(error, match=sentence):
        check(student, *parts) if form == "arrays" else check(student, as_dataset(*parts))


@pytest.mark.parametrize(
    "arguments",
    [
        {"y": Y},
        {"y": Y[:, None]},
        {"y": Y, "weights": WEIGHTS},
        {"y": Y, "weights": WEIGHTS[:, None]},
        {"y": np.eye(4)[Y], "loss": "mse"},
        {"loss": None},
        {"y": {"head": Y}},
        {"y": [[0, 1]]},
    ],
    ids=str,
)
def test_data_that_match_the_student_pass(student, arguments):
    assert check(student, X, **arguments) is None


@pytest.mark.parametrize(
    ("own", "given"), [((None, 6, 6, 1), (8, 6, 6)), ((None, 5), (8, 5, 1)), ((None, None), (8, 9))]
)
def test_an_axis_of_one_may_be_missing_or_extra_as_in_keras(own, given):
    inputs = keras.Input(own[1:])
    assert check(keras.Model(inputs, inputs), np.zeros(given), loss=None) is None


def test_the_inputs_of_an_augmented_student_are_not_checked():
    assert check(None, np.zeros((8, 3)), Y) is None


def test_the_specification_of_a_batch_has_its_parts():
    x, y, weights = batch_specs(as_dataset(X, Y), None)
    assert x.shape == (None, 5)
    assert y.shape == (None,)
    assert weights is None
    assert batch_specs(X, Y, WEIGHTS)[2].shape == (None,)
    assert batch_specs(iter([(X, Y)]), None) is None


@pytest.mark.parametrize(
    ("x", "size", "expected"),
    [
        (X, 1, True),
        (X, 8, False),
        (X, None, False),
        (as_dataset(X).unbatch().batch(1, drop_remainder=True), None, True),
        (as_dataset(X), None, False),
        (as_dataset({"a": X}).unbatch().batch(1, drop_remainder=True), None, True),
    ],
)
def test_batches_of_one_sample_are_recognized(x, size, expected):
    assert has_single_samples(x, size) is expected


def test_fit_checks_the_data_before_the_first_step():
    model = distiller()
    with pytest.raises(ValueError, match=r"'student' takes inputs of shape \(None, 5\)"):
        model.fit(np.zeros((8, 3)), Y, verbose=0)
    assert int(model.optimizer.iterations) == 0
