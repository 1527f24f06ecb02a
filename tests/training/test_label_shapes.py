"""Labels that do not fit their output are rejected: Keras repeats them, or fails in the step."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.training.label_shapes import require_label_shape
from tests import toy


@pytest.mark.parametrize(
    ("loss", "found", "shape"),
    [
        ("SparseCategoricalCrossentropy", (None,), (None, 4)),
        ("SparseCategoricalCrossentropy", (None, 1), (None, 4)),
        ("SparseCategoricalCrossentropy", (8, 6, 6), (None, None, None, 4)),
        ("MeanSquaredError", (8, 4), (None, 4)),
        ("MeanSquaredError", (8, None), (None, 4)),
        ("MeanSquaredError", (8,), (None, 1)),
        ("MeanSquaredError", (8, 4, 1), (None, 4)),
        ("BinaryCrossentropy", (8, 6), (None, 6, 1)),
        (None, (8,), (None, 4)),
    ],
)
def test_labels_that_fit_pass(loss, found, shape):
    assert require_label_shape("head", loss, found, shape) is None


@pytest.mark.parametrize(
    ("loss", "found", "shape", "sentence"),
    [
        (
            "SparseCategoricalCrossentropy",
            (8, 4),
            (None, 4),
            r"class indices.*use keras\.losses\.C",
        ),
        ("CategoricalGeneralizedCrossEntropy", (8, 4), (None, 4), "class indices"),
        (
            "MeanSquaredError",
            (8,),
            (None, 4),
            r"shape, \(None, 4\)\. .*\(8,\)\. .*SparseCategorica",
        ),
        ("MeanSquaredError", (8, 1), (None, 4), "SparseCategorical"),  # Keras repeats the label.
        ("MeanAbsoluteError", (8, 3), (None, 4), r"in the order of the outputs\.$"),
        ("BinaryCrossentropy", (8, 6), (None, 6, 2), "each number of the output 'head'"),
        ("KLDivergence", (8, 6, 6, 3), (None, 6, 6, 4), "each number"),
    ],
)
def test_labels_that_do_not_fit_are_rejected(loss, found, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        require_label_shape("head", loss, found, shape)


def test_only_the_number_of_axes_is_known_of_other_layouts():
    require_label_shape("head", "MeanSquaredError", (8, 4, 6), (None, 6, 4), channels_last=False)
    with pytest.raises(ValueError, match="must have its shape"):
        require_label_shape("head", "MeanSquaredError", (8, 4), (None, 6, 4), channels_last=False)


def two_outputs(name):
    x = keras.Input((5,))
    return keras.Model(x, [layers.Dense(4, name="a")(x), layers.Dense(3, name="b")(x)], name=name)


X, INDICES, NUMBERS = toy.vectors(8)[0], np.zeros(8, "int32"), np.ones((8, 3), "float32")


@pytest.mark.parametrize("form", ["arrays", "generator"])
def test_losses_in_the_wrong_order_are_rejected_before_a_weight_changes(form):
    distiller = kd.Distiller(two_outputs("student"), two_outputs("teacher"))
    distiller.compile("sgd", ["mse", toy.sparse_loss()])
    data = (
        (X, [INDICES, NUMBERS])
        if form == "arrays"
        else ((batch for batch in [(X, (INDICES, NUMBERS))]),)
    )
    before = distiller.student.get_weights()
    with pytest.raises(ValueError, match=r"each number of the output 'a' .*order of the outputs\."):
        distiller.fit(*data, verbose=0)
    for one, other in zip(before, distiller.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("labels", [INDICES, INDICES[:, None]])
def test_class_indices_are_not_numbers_to_regress(labels):
    distiller = kd.Distiller(toy.mlp("student"), toy.mlp("teacher"))
    distiller.compile("sgd", "mse")
    with pytest.raises(ValueError, match="For class indices use keras.losses.SparseCategorical"):
        distiller.fit(X, labels, verbose=0)


def test_a_loss_that_derives_from_one_of_keras_may_compare_other_shapes():
    class ToAll(keras.losses.MeanSquaredError):
        def call(self, y_true, y_pred):
            return keras.ops.mean((y_pred - keras.ops.cast(y_true, y_pred.dtype)) ** 2, axis=-1)

    model, x = toy.mlp("student"), X
    distiller = kd.Distiller(model, toy.mlp("teacher"), [])
    distiller.compile(keras.optimizers.SGD(0.0), ToAll(), run_eagerly=True)
    expected = ((model.predict(x, verbose=0) - 2.0) ** 2).mean()
    loss = distiller.fit(x, np.full((8, 1), 2.0), verbose=0).history["student_loss"][0]
    assert loss == pytest.approx(expected, rel=1e-5)


def test_an_error_within_a_loss_names_the_loss_and_the_output():
    def broken(y, outputs):
        raise TypeError("no such thing.")

    distiller = kd.Distiller(two_outputs("student"), two_outputs("teacher"))
    distiller.compile("sgd", {"a": toy.sparse_loss(), "b": broken})
    sentence = r"'broken' of the output 'b' cannot be computed: no such.*\(None, 3\)"
    with pytest.raises(ValueError, match=sentence):
        distiller.fit(X, {"a": INDICES, "b": NUMBERS}, verbose=0)
