"""Every convertible layer computes the same in tf_keras; every other is rejected by name."""

import re

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers, tree

from keras_kd.compression.tfmot import parity
from keras_kd.compression.tfmot.convert import open_student, to_keras, to_tf_keras
from keras_kd.compression.tfmot.layers import SAME, LayerConverter, is_shared_activation
from keras_kd.models.precision import compute_in_float32
from tests.compression import models


def assert_close(one, other):
    for a, b in zip(tree.flatten(one), tree.flatten(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(np.asarray(a)).max())


@pytest.fixture(scope="module")
def converted_classes():
    """Collects the names of the converted classes of layers."""
    return set()


@pytest.mark.parametrize("kind", models.CONVERTIBLE)
def test_a_layer_computes_the_same_in_tf_keras_and_its_weights_return(kind, converted_classes):
    model = models.CONVERTIBLE[kind]()
    x = parity.random_input(open_student(model), 5)
    converted = to_tf_keras(model)
    with compute_in_float32(model):
        assert_close(model(x, training=False), converted(x, training=False))
    returned = to_keras(converted, model)
    assert type(returned) is type(model)
    for old, new in zip(model.weights, returned.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    converted_classes |= {type(layer).__name__ for layer in model._flatten_layers()}


def test_every_class_that_is_converted_by_name_was_compared(converted_classes):
    if len(converted_classes) < 40:
        pytest.skip("needs the tests above")
    assert not SAME - converted_classes


@pytest.mark.parametrize("kind", models.REJECTED)
def test_a_layer_that_cannot_be_converted_is_rejected_with_a_remedy(kind):
    make, message = models.REJECTED[kind]
    with pytest.raises(ValueError, match=re.escape(message)):
        to_tf_keras(make())


def test_activations_are_shared_by_name_and_function():
    def relu(x):
        return x

    assert is_shared_activation(keras.activations.relu)
    assert not is_shared_activation(keras.activations.celu)
    assert not is_shared_activation(relu)


def test_a_model_inside_a_layer_is_converted_by_the_given_function():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="inner")
    replacement = tf_keras.layers.Dense(3)
    received = []

    def convert_model(model):
        received.append(model)
        return replacement

    converter = LayerConverter(None, convert_model)
    converted = converter.convert(layers.TimeDistributed(inner, name="steps"), "outer/steps")
    assert converted.name == "outer/steps"
    assert converted.layer is replacement
    assert received == [inner]


class TfKerasScale(tf_keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x):
        return x * self.scale


class TfKerasSquare(TfKerasScale):
    def call(self, x):
        return x * self.scale**2


@pytest.mark.parametrize("key", [models.Scale, "Scale"])
def test_a_custom_layer_is_replaced_by_the_given_layer(key):
    model = models.of(models.Scale(name="own"), (6,))
    converted = to_tf_keras(model, custom={key: lambda layer: TfKerasScale()})
    np.testing.assert_array_equal(converted.get_layer("own").get_weights()[0], model.weights[0])
    returned = to_keras(converted, model)
    np.testing.assert_array_equal(returned.get_weights()[0], model.get_weights()[0])


def test_a_replacement_that_computes_something_else_is_rejected_with_its_layer():
    x = keras.Input((6,))
    scaled = models.Scale(name="own")(layers.Dense(4, name="first")(x))
    model = models.randomized(keras.Model(x, layers.Dense(2, name="last")(scaled)))
    with pytest.raises(ValueError, match=r"differ by .* The first layer that differs is 'own'\."):
        to_tf_keras(model, custom={models.Scale: lambda layer: TfKerasSquare()})


@pytest.mark.parametrize(
    ("replacement", "error", "message"),
    [
        (lambda layer: 3, TypeError, r"custom\[Scale\] must return a tf_keras layer. Received: 3"),
        (lambda layer: tf_keras.layers.Dense(2), ValueError, r"weights of shapes \[\(6,\)\], and"),
        ("as_is", ValueError, "'own' .Scale. cannot run in tf_keras unchanged, because it has"),
    ],
)
def test_an_invalid_replacement_is_rejected(replacement, error, message):
    model = models.of(models.Scale(name="own"), (6,))
    with pytest.raises(error, match=message):
        to_tf_keras(model, custom={models.Scale: replacement})
