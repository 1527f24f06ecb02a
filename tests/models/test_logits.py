"""Logits, probabilities and numbers are detected, recovered or rejected."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_kd.models.graph import open_graph
from keras_kd.models.logits import inspect_output, log_odds, log_probabilities
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


def first(filters, **kwargs):
    """A convolution with the channels on axis 1."""
    return layers.Conv2D(filters, 1, data_format="channels_first", **kwargs)


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
        [layers.Softmax(axis=1)],
        [lambda x: ops.softmax(x, axis=1)],
        [layers.Permute((2, 3, 1)), layers.Softmax()],
        [layers.Softmax(axis=-3), layers.Permute((2, 3, 1))],
        [layers.Softmax(axis=1), layers.Reshape((4, 6))],
    ],
    ids=["layer", "operation", "moved before", "moved after", "one axis of positions"],
)
def test_a_softmax_over_the_axis_of_the_classes_is_detected(last):
    """Maps (batch, classes, height, width); the logits have the classes last."""
    image = x = keras.Input((5, 2, 3))
    x = y = first(4)(x)
    for layer in last:
        x = layer(x)
    model = keras.Model(image, x)
    images = np.random.default_rng(0).normal(size=(7, 5, 2, 3)).astype("float32")
    expected = np.moveaxis(keras.Model(image, y)(images), 1, -1)
    outputs, found = logits(model, images)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-6)
    np.testing.assert_array_equal(outputs, model(images))
    assert TappedModel(model, [LOGITS]).activations == {LOGITS: "softmax"}


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
        [layers.Dense(4, activation="softmax"), layers.Rescaling(0.5)],
        [layers.Dense(4), layers.Lambda(lambda x: x / 2)],
        [layers.Reshape((5, 1, 1)), first(4), layers.Softmax()],
        [layers.Reshape((5, 1, 1)), first(4, activation="softmax")],
        [layers.Dense(4, activation="softmax"), layers.Reshape((2, 2))],
        [layers.Reshape((5, 1)), layers.Dense(4, activation="softmax"), layers.Flatten()],
        [layers.Dense(4, activation="softmax"), lambda x: x[:, :2]],
    ],
    ids=[
        *("scaled probabilities", "lambda", "other axis", "axis of an argument", "split classes"),
        *("joined steps", "some classes"),
    ],
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


@pytest.mark.parametrize(
    ("activation", "declared", "message"),
    [
        (None, "probabilities", "declared to return probabilities, but 'last' returns logits"),
        ("tanh", "probabilities", "declared to return probabilities, but 'last' returns numbers"),
        ("softmax", "logits", "declared to return logits, but 'last' applies a softmax"),
        ("sigmoid", "logits", "declared to return logits, but 'last' applies a sigmoid"),
        (None, "logit", "must be one of"),
        (None, {"last": "logit"}, "must be one of"),
        (None, {"first": "logits"}, r"declares \['first'\], but 'm' has the outputs \['last'\]"),
    ],
)
def test_a_wrong_declaration_is_rejected(activation, declared, message):
    with pytest.raises(ValueError, match=message):
        logits(head(layers.Dense(4, activation, name="last")), X, outputs=declared)


class Hidden(keras.Model):
    """A model whose activation cannot be seen from outside."""

    def __init__(self, end, name):
        super().__init__(name=name)
        self.end, self.head = end, layers.Dense(4)

    def call(self, x):
        return self.end(self.head(x))


def hidden(end, name="hidden"):
    keras.utils.set_random_seed(5)
    model = Hidden(end, name)
    model(np.zeros((1, 5), "float32"))
    return model


DENSE = layers.Dense
OPAQUE = layers.Lambda(lambda x: x / 2)


def divide_by_sum(x):
    return x / ops.sum(x, axis=-1, keepdims=True)


def mean_of_hidden(end, x):
    return layers.Average()([hidden(end, name)(x) for name in "ab"])


def of_two(combine, activations=(None, None)):
    def build(x):
        return combine([DENSE(4, activation)(x) for activation in activations])

    return build


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        *[
            ("values", layers.Dense(4, name))
            for name in ("tanh", "relu", "softplus", "elu", "gelu", "exponential", "silu")
        ],
        ("values", lambda x: layers.ReLU()(DENSE(4)(x))),
        ("values", lambda x: layers.LeakyReLU()(DENSE(4)(x))),
        ("values", lambda x: layers.Activation("softsign")(DENSE(4)(x))),
        ("values", lambda x: ops.tanh(DENSE(4)(x)) * 3.0),
        ("values", lambda x: layers.LSTM(3)(layers.Reshape((5, 1))(x))),
        ("values", of_two(layers.Concatenate(), ("tanh", "relu"))),
        ("values", of_two(layers.Average(), ("tanh", "tanh"))),
        ("logits", lambda x: DENSE(4)(x) * 2.0),
        ("logits", lambda x: DENSE(4)(x) / DENSE(1, "softplus")(x)),
        ("logits", lambda x: layers.Multiply()([DENSE(4)(x), DENSE(1, "softplus")(x)])),
        ("logits", of_two(layers.Concatenate())),
        ("logits", of_two(ops.concatenate)),
        ("logits", of_two(layers.Average())),
        ("logits", of_two(layers.Dot(axes=1), ("relu", "relu"))),
        ("logits", lambda x: layers.LayerNormalization()(OPAQUE(x))),
        ("logits", lambda x: ops.matmul(DENSE(4, "relu")(x), np.ones((4, 3), "float32"))),
        ("softmax", DENSE(4, "softmax")),
        ("unknown", lambda x: layers.Average()([OPAQUE(DENSE(4)(x)), DENSE(4)(x)])),
        ("unknown", lambda x: layers.Add()([OPAQUE(DENSE(4)(x)), OPAQUE(DENSE(4)(x))])),
        ("unknown", lambda x: layers.Add()([x, DENSE(5)(x)])),
        ("unknown", lambda x: ops.mean(ops.stack([OPAQUE(x), OPAQUE(x)]), axis=0)),
        ("unknown", lambda x: layers.Concatenate()([DENSE(4)(x), OPAQUE(x)])),
        ("unknown", of_two(layers.Concatenate(), ("tanh", None))),
        ("unknown", of_two(layers.Multiply(), ("sigmoid", None))),
        ("unknown", of_two(layers.Average(), ("softmax", "softmax"))),
        ("unknown", lambda x: layers.BatchNormalization()(DENSE(4, "softmax")(x))),
        ("unknown", DENSE(4, "hard_sigmoid")),
        ("unknown", lambda x: divide_by_sum(DENSE(4, "exponential")(x))),
        ("unknown", lambda x: mean_of_hidden(ops.softmax, x)),
    ],
)
def test_the_kind_of_an_output(kind, build):
    inputs = keras.Input((5,))
    graph = open_graph(keras.Model(inputs, build(inputs)))
    assert inspect_output(graph, graph.outputs).kind == kind


def test_many_sums_of_sums_are_inspected_once():
    x = inputs = keras.Input((5,))
    x = layers.Dense(5)(x)
    for _ in range(40):
        x = layers.Add()([x, x])
    graph = open_graph(keras.Model(inputs, x))
    assert inspect_output(graph, graph.outputs).kind == "logits"


def two_outputs(end=None):
    keras.utils.set_random_seed(4)
    inputs = keras.Input((5,))
    expr = layers.Dense(4, "softmax" if end is None else None, name="expr")(inputs)
    outputs = {"expr": expr if end is None else end(expr), "va": layers.Dense(2, "tanh")(inputs)}
    return keras.Model(inputs, outputs, name="m")


@pytest.mark.parametrize("declared", ["auto", "logits", "values", {"va": "values"}])
def test_a_tanh_is_read_unchanged(declared):
    model = head(layers.Dense(2, "tanh", name="va"))
    outputs, same = logits(model, X, outputs=declared)
    np.testing.assert_array_equal(same, outputs)


@pytest.mark.parametrize("declared", ["auto", "logits", "probabilities", {"va": "values"}])
def test_a_declaration_for_one_output_does_not_hide_the_softmax_of_another(declared):
    model, tap = two_outputs(), Tap("expr", logits=True)
    tapped = TappedModel(model, [tap], outputs=declared)
    assert tapped.kinds == {tap: "softmax"}
    outputs, values = tapped(X)
    np.testing.assert_allclose(ops.softmax(values[tap]), outputs["expr"], rtol=1e-4)
    assert not np.allclose(np.sum(values[tap], axis=-1), 1)


def test_each_output_has_its_own_declaration():
    expr, va = Tap("expr", logits=True), Tap("va", logits=True)
    model = two_outputs(end=layers.Lambda(ops.softmax, name="end"))
    declared = {"expr": "probabilities", "va": "logits"}
    tapped = TappedModel(model, [expr, va], outputs=declared)
    assert tapped.kinds == {expr: "probabilities", va: "logits"}
    outputs, values = tapped(X)
    np.testing.assert_allclose(ops.exp(values[expr]), outputs["expr"], rtol=1e-4)
    np.testing.assert_array_equal(values[va], outputs["va"])
    with pytest.raises(ValueError, match="may be logits or probabilities"):
        TappedModel(model, [expr], outputs={"va": "values"})
    with pytest.raises(ValueError, match="declared to return logits, but 'expr' applies a soft"):
        TappedModel(two_outputs(), [expr], outputs={"expr": "logits"})


def test_values_are_read_unchanged_whatever_the_activation():
    model = head(layers.Dense(4, "sigmoid"))
    outputs, same = logits(model, X, outputs="values")
    np.testing.assert_array_equal(same, outputs)
    assert TappedModel(model, [LOGITS], outputs="values").activations == {LOGITS: None}


@pytest.mark.parametrize("opaque", [tf.nn.softmax, ops.softmax])
def test_the_mean_of_hidden_softmaxes_is_logits_only_if_declared(opaque):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, mean_of_hidden(opaque, inputs))
    with pytest.raises(ValueError, match="may be logits or probabilities"):
        logits(model, X)
    outputs, found = logits(model, X, outputs="probabilities")
    np.testing.assert_allclose(found, np.log(np.maximum(outputs, 1.2e-38)), rtol=1e-5)


@pytest.mark.parametrize("end", [ops.softmax, ops.sigmoid])
def test_an_activation_in_the_call_of_a_model_is_inverted(end):
    model = hidden(end)
    _, found = logits(model, X / 20)
    same = ops.softmax(found) if end is ops.softmax else ops.sigmoid(found)
    np.testing.assert_allclose(same, model(X / 20), rtol=1e-5)


def test_a_single_hidden_probability_is_that_of_a_sigmoid():
    keras.utils.set_random_seed(5)
    dense = layers.Dense(1)
    model = head(dense, layers.Lambda(lambda x: 1 / (1 + ops.exp(-x))))
    tapped = TappedModel(model, [LOGITS], outputs="probabilities")
    assert tapped.kinds == {LOGITS: "sigmoid"}
    np.testing.assert_allclose(tapped(X / 20)[1][LOGITS], dense(X / 20), rtol=1e-4, atol=1e-5)


def test_log_odds_are_the_logits_of_a_sigmoid_up_to_the_rounding_of_the_probability():
    z = np.array([-80, -20, -5, -1e-3, 0, 1e-3, 1, 5, 10, 15], "float64")
    p = (1 / (1 + np.exp(-z))).astype("float32")
    exact = np.log(np.float64(p)) - np.log1p(-np.float64(p))
    np.testing.assert_allclose(log_odds(log_probabilities(p)), exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_ends_of_the_probabilities_are_finite_with_finite_gradients(dtype):
    ends = np.array([0.0, 1e-45, 1e-38, 1e-7, 0.5, 1 - 2.0**-24, 1.0])
    for function in (log_probabilities, lambda p: log_odds(log_probabilities(p))):
        p = tf.cast(ends, dtype)
        with tf.GradientTape() as tape:
            tape.watch(p)
            values = function(p)
        assert values.dtype == ("float64" if dtype == "float64" else "float32")
        assert np.isfinite(values).all()
        assert np.isfinite(np.asarray(tape.gradient(values, p), "float64")).all()
    odds = np.asarray(log_odds(log_probabilities(tf.constant([0.0, 1.0]))))
    np.testing.assert_allclose(odds, [np.log(1.1754944e-38), 25 * np.log(2)], rtol=1e-6)


def test_a_mask_stays_with_the_converted_logits():
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(10, 3, mask_zero=True)(inputs)
    end = layers.Lambda(ops.softmax, mask=lambda inputs, mask: mask)
    model = keras.Model(inputs, end(layers.Dense(4)(x)))
    _, found = logits(model, np.array([[1, 2, 3, 0, 0]]), outputs="probabilities")
    np.testing.assert_array_equal(found._keras_mask, [[True, True, True, False, False]])
