"""Logits or probabilities: recognised, recovered, or refused."""

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
    outputs, seen = TappedModel(model, [LOGITS], **kwargs)(x)
    return outputs, seen[LOGITS]


X = np.random.default_rng(0).normal(size=(7, 5)).astype("float32") * 10


@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    "build",
    [
        lambda dense, f: [dense(f)],
        lambda dense, f: [dense(None), layers.Activation(f)],
        lambda dense, f: [dense(None), getattr(ops, f)],
        lambda dense, f: [keras.Sequential([keras.Input((5,)), dense(f)])],
        lambda dense, f: [keras.Sequential([keras.Input((5,)), dense(None)]), layers.Activation(f)],
        lambda dense, f: [dense(f), layers.Activation("linear", dtype="float32")],
        lambda dense, f: [dense(f), layers.Reshape((2, 2)), layers.Reshape((4,))],
    ],
    ids=["argument", "layer", "operation", "nested", "half nested", "cast", "reshaped"],
)
def test_an_activation_at_the_end_is_recognised_and_the_logits_are_recovered(function, build):
    def dense(activation):
        return layers.Dense(4, activation=activation, name="last")

    model = head(*build(dense, function))
    kernel, bias = model.get_weights()
    outputs, recovered = logits(model, X)
    np.testing.assert_allclose(recovered, X @ kernel + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(outputs, model(X))


def test_a_softmax_layer_is_recognised():
    model = head(layers.Dense(4), layers.Softmax())
    _, recovered = logits(model, X)
    np.testing.assert_array_equal(recovered, model.layers[1](X))


def test_a_convolution_with_a_softmax_is_recognised():
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
def test_logits_are_recognised_and_stay_as_they_are(last):
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
def test_a_doubt_is_an_error_that_says_what_to_pass(last):
    with pytest.raises(ValueError, match='outputs="logits"'):
        logits(head(*last), X)


def test_a_doubt_is_settled_by_the_user():
    model = head(layers.Dense(4), layers.Lambda(lambda x: ops.softmax(x / 2)))
    outputs, same = logits(model, X, outputs="logits")
    np.testing.assert_array_equal(same, outputs)
    outputs, recovered = logits(model, X, outputs="probabilities")
    np.testing.assert_allclose(ops.softmax(recovered), outputs, rtol=1e-5, atol=1e-7)


def test_a_wrong_word_of_the_user_is_refused():
    with pytest.raises(ValueError, match="said to give probabilities, but 'dense.*' gives logits"):
        logits(head(layers.Dense(4)), X, outputs="probabilities")
    with pytest.raises(ValueError, match="must be one of"):
        logits(head(layers.Dense(4)), X, outputs="logit")
