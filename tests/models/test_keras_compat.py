"""Each use of a Keras internal, compared with the public behavior."""

import keras
import numpy as np
from keras import layers

from keras_kd.models import keras_compat
from tests import toy


class TwoOutputs(keras_compat.CompatModel):
    def __init__(self):
        super().__init__()
        self.a, self.b = layers.Dense(2), layers.Dense(1)

    def call(self, x):
        return {"a": self.a(x), "b": self.b(x)}


def test_a_mask_that_is_set_reaches_the_next_layer():
    x, mask = keras.ops.ones((2, 3, 4)), np.array([[True, True, False], [True, False, False]])
    assert keras_compat.get_mask(x) is None
    pooled = layers.GlobalAveragePooling1D()(keras_compat.set_mask(x + np.eye(3, 4), mask))
    expected = layers.GlobalAveragePooling1D()(x + np.eye(3, 4), mask=mask)
    np.testing.assert_array_equal(pooled, expected)
    embedded = layers.Embedding(5, 2, mask_zero=True)(np.array([[1, 0]]))
    np.testing.assert_array_equal(keras_compat.get_mask(embedded), [[True, False]])


def test_nested_layers_contain_those_inside_other_layers():
    inner = toy.mlp("inner")
    inputs = keras.Input((5,))
    wrapper = layers.TimeDistributed(layers.Dense(2, name="wrapped"))
    outputs = wrapper(layers.Reshape((2, 2))(inner(inputs)))
    model = keras.Model(inputs, outputs)
    found = {layer.name for layer in keras_compat.nested_layers(model)}
    assert {model.name, "inner", "hidden", "head", wrapper.name, "wrapped"} <= found
    without = keras_compat.nested_layers(model, include_self=False)
    assert {layer.name for layer in without} == found - {model.name}


def test_running_a_graph_calls_every_layer_as_the_model_does():
    model, (x, _) = toy.cnn("model"), toy.data(4)
    called = []

    def call(layer, *args, **kwargs):
        called.append(layer.name)
        return layer(*args, **kwargs)

    outputs = keras_compat.run_graph(model, keras.ops.convert_to_tensor(x), call)
    assert called == [layer.name for layer in model.layers[1:]]
    np.testing.assert_array_equal(outputs, model(x))


def test_the_mean_of_the_metric_values_is_the_metric():
    y, outputs = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], "float32")
    for metric in (
        keras.metrics.SparseCategoricalAccuracy(),
        keras.metrics.SparseCategoricalCrossentropy(),
    ):
        values = keras_compat.metric_values(metric, y, outputs)
        np.testing.assert_allclose(np.mean(values), metric(y, outputs), rtol=1e-6)


def test_metrics_are_listed_per_output_with_its_labels():
    model = TwoOutputs()
    model.compile(loss="mse", metrics={"a": ["mae"]}, weighted_metrics={"b": ["mse"]})
    x, y = np.ones((4, 3)), {"a": np.zeros((4, 2)), "b": np.ones((4, 1))}
    model.evaluate(x, y, verbose=0)
    rows = keras_compat.metrics_per_output(model.compiled_metrics_fn, y, model(x))
    names = [[[metric.name for metric in kind] for kind in row[:2]] for row in rows]
    assert names == [[["mae"], []], [[], ["mse"]]]
    for (_, _, labels, prediction), output in zip(rows, "ab", strict=True):
        np.testing.assert_array_equal(labels, y[output])
        assert prediction.shape == y[output].shape


def test_a_second_compile_forgets_loss_and_metrics_of_the_first():
    model = TwoOutputs()
    model.compile(loss="mse", metrics=["mae"])
    assert model.compiled_loss_fn is not None
    model.compile()
    assert model.compiled_loss_fn is None
    assert model.compiled_metrics_fn is None
