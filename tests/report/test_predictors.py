"""Predictions of Keras models and files: logits, probabilities and class numbers."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.report.predictors import Predictor
from tests.export import models


def predict(model, x, outputs="auto"):
    """Classes and log-probabilities."""
    predictor = Predictor("model", model, outputs)
    try:
        values = predictor.predict(x)
        predictor.output(values)
        return predictor.as_classes(values)
    finally:
        predictor.close()


@pytest.fixture(scope="module")
def logits_model():
    return models.cnn()


def test_logits_become_log_probabilities(logits_model):
    classes, logs = predict(logits_model, models.IMAGES)
    values = logits_model.predict_on_batch(models.IMAGES)
    np.testing.assert_array_equal(classes, values.argmax(-1))
    np.testing.assert_allclose(logs, keras.ops.log_softmax(values), atol=1e-5)


@pytest.mark.slow
def test_a_file_of_probabilities_gives_the_same_log_probabilities(logits_model, tmp_path):
    file = kd.export.to_tflite(logits_model, tmp_path / "softmax.tflite", answer="softmax")
    classes, logs = predict(file.path, models.IMAGES)
    expected_classes, expected = predict(logits_model, models.IMAGES)
    np.testing.assert_array_equal(classes, expected_classes)
    np.testing.assert_allclose(np.exp(logs), np.exp(expected), atol=1e-5)


@pytest.mark.slow
def test_a_file_of_class_numbers_has_no_probabilities(logits_model, tmp_path):
    file = kd.export.to_tflite(logits_model, tmp_path / "classes.tflite", answer="argmax")
    classes, logs = predict(file.path, models.IMAGES)
    assert logs is None
    np.testing.assert_array_equal(classes, predict(logits_model, models.IMAGES)[0])


@pytest.mark.parametrize("activation", ["linear", "sigmoid"])
def test_one_unit_is_two_classes(activation):
    x = layers.Input((1,))
    model = keras.Model(x, layers.Activation(activation)(x))
    classes, logs = predict(model, np.array([[-2.0], [-1.0], [1.0], [3.0]], "float32"))
    assert classes.tolist() == [0, 0, 1, 1]
    expected = 1 / (1 + np.exp(-np.array([-2.0, -1.0, 1.0, 3.0])))
    np.testing.assert_allclose(np.exp(logs[:, 1]), expected, rtol=1e-5)


class Opaque(keras.Model):
    """A model whose graph cannot be read; the output is the input."""

    def call(self, x):
        if x.shape[0] is None:
            raise TypeError("no symbolic tensors")
        return keras.ops.convert_to_tensor(x)


def opaque(x):
    model = Opaque(name="opaque")
    model(x)
    return model


def test_unknown_rows_are_probabilities_if_each_sums_to_one():
    rows = np.array([[0.25, 0.75], [0.5, 0.5]], "float32")
    np.testing.assert_allclose(predict(opaque(rows), rows)[1], np.log(rows), rtol=1e-5)
    expected = keras.ops.log_softmax(2 * rows)
    np.testing.assert_allclose(predict(opaque(rows), 2 * rows)[1], expected, rtol=1e-5)


def test_unknown_yes_or_no_outputs_are_refused_unless_they_prove_what_they_are():
    rows = np.array([[0.25], [0.5]], "float32")
    with pytest.raises(ValueError, match="'model' may be logits or prob.*{'model': 'logits'}"):
        predict(opaque(rows), rows)
    assert predict(opaque(rows), rows - 0.4)[0].tolist() == [0, 1]
    assert predict(opaque(rows), rows, "logits")[0].tolist() == [1, 1]
    assert predict(opaque(rows), rows, "probabilities")[0].tolist() == [0, 0]


def test_the_ignored_class_is_that_of_the_compiled_loss(logits_model, tmp_path):
    model = models.cnn()
    assert Predictor("model", model).ignored_class is None
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(ignore_class=255))
    assert Predictor("model", model).ignored_class == 255


def test_several_outputs_are_rejected():
    model = models.two_in_two_out()
    with pytest.raises(ValueError, match="Expected models with one output. Received: 'model'"):
        predict(model, [np.zeros((2, 4), "float32"), np.zeros((2, 3), "float32")])
