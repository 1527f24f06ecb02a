"""Named places in models of every kind, seen in one forward pass."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_kd.models.taps import Tap, TappedModel
from tests import toy


def run(model, names, x, training=False):
    outputs, seen = TappedModel(model, [Tap(name) for name in names], training=training)(x)
    return outputs, [seen[Tap(name)] for name in names]


def test_a_layer_of_a_functional_model():
    model, (x, _) = toy.cnn("m"), toy.data()
    outputs, (features,) = run(model, ["features"], x)
    expected = keras.Model(model.inputs, model.get_layer("features").output)(x)
    np.testing.assert_array_equal(features, expected)
    np.testing.assert_array_equal(outputs, model(x))


def test_a_layer_of_a_sequential_model():
    model, x = toy.mlp("m"), np.ones((3, 5), "float32")
    _, (hidden,) = run(model, ["hidden"], x)
    np.testing.assert_array_equal(hidden, model.get_layer("hidden")(x))


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_inside_nested_models(training):
    inner, (x, _) = toy.cnn("backbone"), toy.data()
    middle = keras.Sequential([keras.Input((6, 6, 1)), inner], name="middle")
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, layers.Rescaling(2.0)(middle(inputs)), name="outer")
    start = model.get_weights()
    outputs, (conv, pool) = run(
        model, ["middle/backbone/conv", "middle/backbone/pool"], x, training
    )
    model.set_weights(start)
    np.testing.assert_allclose(outputs, model(x, training=training), rtol=1e-6)
    np.testing.assert_allclose(conv, inner.get_layer("conv")(x), rtol=1e-6)
    assert pool.shape == (32, 4)


def test_a_layer_of_a_subclassed_model_and_inside_a_custom_layer():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.conv = layers.Conv2D(3, 3, name="conv")

        def build(self, shape):
            self.conv.build(shape)

        def call(self, x):
            return ops.relu(self.conv(x))

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.block = Block()
            self.drop = layers.Dropout(0.5, name="drop")
            self.head = layers.Dense(4, name="head")

        def call(self, x, training=None):
            x = ops.mean(self.block(x), axis=(1, 2))
            if training:
                x = self.drop(x, training=training)
            return self.head(x)

    model, (x, _) = Net(), toy.data()
    expected = model(x)
    outputs, (conv,) = run(model, ["block/conv"], x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)
    np.testing.assert_allclose(conv, model.block.conv(x), rtol=1e-6)
    _, (dropped,) = run(model, ["drop"], x, training=True)
    assert np.mean(dropped.numpy() == 0) > 0.2


def test_a_mask_reaches_the_layers_behind():
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(10, 4, mask_zero=True, name="embedding")(inputs)
    model = keras.Model(inputs, layers.LSTM(3, name="lstm")(x), name="m")
    tokens = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    outputs, _ = run(model, ["embedding"], tokens)
    np.testing.assert_array_equal(outputs, model(tokens))
    assert not np.allclose(outputs[0], model(np.array([[1, 2, 3, 9, 9]]))[0])


def test_several_inputs_and_outputs_as_dicts():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    joined = layers.Concatenate(name="joined")([a, b])
    outputs = {"one": layers.Dense(2)(joined), "two": layers.Dense(3)(joined)}
    model = keras.Model({"a": a, "b": b}, outputs, name="m")
    x = {"a": np.ones((4, 3), "float32"), "b": np.ones((4, 2), "float32")}
    tapped = TappedModel(model, [Tap("joined"), Tap("two", logits=True)])
    outputs, seen = tapped(x)
    np.testing.assert_array_equal(seen[Tap("two", logits=True)], model(x)["two"])
    assert seen[Tap("joined")].shape == (4, 5)
    assert set(outputs) == {"one", "two"}
    assert tapped.output_shapes == {"one": (None, 2), "two": (None, 3)}


def test_the_model_is_left_as_it_was():
    model, (x, _) = toy.cnn("m", activation="softmax"), toy.data()
    config, weights = model.to_json(), model.get_weights()
    output = model.get_layer("conv").output
    TappedModel(model, [Tap("conv"), Tap(None, logits=True)])(x)
    assert model.to_json() == config
    assert model.get_layer("conv").output is output
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert model.get_layer("logits").activation is keras.activations.softmax


def test_a_tap_that_does_not_exist_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"no layer or output 'featuers'.*'features'"):
        TappedModel(toy.cnn("m"), [Tap("featuers")])


def test_a_layer_called_twice_is_no_single_place():
    shared = layers.Dense(5, name="shared")
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.ReLU()(shared(shared(inputs))))
    with pytest.raises(ValueError, match="called 2 times"):
        TappedModel(model, [Tap("shared")])


def test_several_outputs_need_a_name():
    inputs = keras.Input((5,))
    model = keras.Model(
        inputs, [layers.Dense(2, name="a")(inputs), layers.Dense(2, name="b")(inputs)]
    )
    with pytest.raises(ValueError, match=r"several outputs.*\['a', 'b'\]"):
        TappedModel(model, [Tap()])


def test_a_subclassed_model_of_tensorflow_operations_shows_its_outputs_only():
    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.head = layers.Dense(4)

        def call(self, x):
            return self.head(tf.nn.relu(x))

    model = Net()
    x = np.ones((2, 5), "float32")
    expected = model(x)
    with pytest.raises(ValueError, match=r'`outputs="logits"` or `outputs="probabilities"`'):
        TappedModel(model, [Tap(None, logits=True)])
    _, seen = TappedModel(model, [Tap(None, logits=True)], outputs="logits")(x)
    np.testing.assert_array_equal(seen[Tap(None, logits=True)], expected)
    with pytest.raises(ValueError, match="does not run on symbolic tensors"):
        TappedModel(model, [Tap("dense")], outputs="logits")
