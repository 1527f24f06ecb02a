"""Predictions of Keras models and files: logits, probabilities and class numbers."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.report.predictors import Predictor
from tests.export import models


def predict(model, x):
    predictor = Predictor("model", model)
    try:
        return predictor.predict(x)
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


def test_several_outputs_are_rejected():
    model = models.two_in_two_out()
    with pytest.raises(ValueError, match="Expected models with one output. Received: 'model'"):
        predict(model, [np.zeros((2, 4), "float32"), np.zeros((2, 3), "float32")])
