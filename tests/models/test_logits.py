"""Logits and probabilities are detected, recovered or rejected."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.models.taps import Tap, TappedModel

LOGITS = Tap(None, logits=True)


def head(*last):
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((5,))
    for layer in last:
        x = layer(x)
    return keras.Model(inputs, x, name="m")


def logits(model, x, **kwargs):
    outputs, values = TappedModel(model, [LOGITS], **kwargs)(x)
    return outputs, values[LOGITS]


def nested(layer):
    return keras.Sequential([keras.Input((5,)), layer])


X = np.random.default_rng(0).normal(size=(7, 5)).astype("float32") * 10


@pytest.mark.parametrize(
    ("build", "function"),
    [
        (lambda dense, f: [dense(f)], "softmax"),
        (lambda dense, f: [dense(f)], "sigmoid"),
        (lambda dense, f: [dense(None), layers.Activation(f)], "sigmoid"),
        (lambda dense, f: [dense(None), getattr(ops, f)], "softmax"),
        (lambda dense, f: [dense(None), getattr(ops, f)], "sigmoid"),
        (lambda dense, f: [nested(dense(f))], "softmax"),
        (lambda dense, f: [nested(dense(None)), layers.Activation(f)], "sigmoid"),
        (lambda dense, f: [dense(f), layers.Activation("linear", dtype="float32")], "softmax"),
        (lambda dense, f: [dense(f), layers.Reshape((2, 2)), layers.Reshape((4,))], "sigmoid"),
    ],
    ids=[
        *("argument", "sigmoid argument", "layer", "operation", "sigmoid operation"),
        *("nested", "half nested", "cast", "reshaped"),
    ],
)
def test_a_final_activation_is_detected_and_the_logits_are_recovered(build, function):
    def dense(activation):
        return layers.Dense(4, activation=activation, name="last")

    model = head(*build(dense, function))
    kernel, bias = model.get_weights()
    outputs, recovered = logits(model, X)
    np.testing.assert_allclose(recovered, X @ kernel + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(outputs, model(X))


def test_a_softmax_layer_is_detected():
    model = head(layers.Dense(4), layers.Softmax())
    _, recovered = logits(model, X)
    np.testing.assert_array_equal(recovered, model.layers[1](X))


def test_a_convolution_with_a_softmax_is_detected():
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, layers.Conv2D(3, 1, activation="softmax")(inputs))
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype("float32")
    _, recovered = logits(model, x)
    np.testing.assert_allclose(ops.softmax(recovered), model(x), rtol=1e-6)


@pytest.mark.parametrize(
    "last",
    [
        [layers.Dense(4)],
        [layers.Dense(8, activation="relu"), layers.Dense(4), layers.BatchNormalization()],
        [layers.Dense(4, activation="log_softmax")],
        [layers.Dense(4), layers.Reshape((2, 2))],
        [layers.Dense(4), layers.Rescaling(0.1)],
    ],
    ids=["dense", "batch norm", "log softmax", "reshape", "rescaling"],
)
def test_logits_are_detected_and_unchanged(last):
    model = head(*last)
    outputs, same = logits(model, X)
    np.testing.assert_array_equal(same, outputs)


@pytest.mark.parametrize(
    "last",
    [
        [layers.Dense(4, activation="relu")],
        [layers.Dense(4, activation="softmax"), layers.Rescaling(0.5)],
        [layers.Dense(4), layers.Lambda(lambda x: x / 2)],
        [layers.Reshape((5, 1)), layers.Softmax(axis=1)],
    ],
    ids=["relu", "scaled probabilities", "lambda", "other axis"],
)
def test_an_ambiguous_output_is_rejected(last):
    with pytest.raises(ValueError, match='may be logits or probabilities.*outputs="logits"'):
        logits(head(*last), X)


def test_a_declaration_resolves_an_ambiguous_output():
    model = head(layers.Dense(4), layers.Lambda(lambda x: ops.softmax(x / 2)))
    outputs, same = logits(model, X, outputs="logits")
    np.testing.assert_array_equal(same, outputs)
    outputs, recovered = logits(model, X, outputs="probabilities")
    np.testing.assert_allclose(ops.softmax(recovered), outputs, rtol=1e-5, atol=1e-7)


def test_a_wrong_declaration_is_rejected():
    with pytest.raises(
        ValueError, match="declared to return probabilities, but 'dense.*' returns logits"
    ):
        logits(head(layers.Dense(4)), X, outputs="probabilities")
    with pytest.raises(ValueError, match="must be one of"):
        logits(head(layers.Dense(4)), X, outputs="logit")
