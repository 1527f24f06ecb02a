"""Conversion of whole models: names, fused layers, training, applications, and the way back."""

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers, tree

from keras_kd.compression.tfmot import parity
from keras_kd.compression.tfmot.convert import open_student, sort_calls, to_keras, to_tf_keras
from tests.compression import models


def assert_close(one, other, tolerance=1e-5):
    for a, b in zip(tree.flatten(one), tree.flatten(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(np.asarray(a)).max())


def test_layers_keep_their_names_and_those_of_nested_models_become_paths():
    converted = to_tf_keras(models.nested())
    assert [layer.name for layer in converted.layers[1:]] == ["middle/deepest/dense", "dense"]
    assert converted.get_layer("middle/deepest/dense").activation is tf_keras.activations.relu
    unfused = to_tf_keras(models.nested(), fuse_relu=False)
    assert [type(layer).__name__ for layer in unfused.layers[1:]] == ["Dense", "ReLU", "Dense"]


def test_frozen_layers_stay_frozen():
    model = models.conv_norm_relu()
    model.get_layer("conv").trainable = False
    converted = to_tf_keras(model)
    assert not converted.get_layer("conv").trainable
    assert converted.get_layer("head").trainable
    assert not to_keras(converted, model).get_layer("conv").trainable


def test_dropout_is_active_in_training():
    converted = to_tf_keras(models.of(layers.Dropout(0.5), (100,)))
    assert 0.2 < np.mean(converted(np.ones((10, 100)), training=True) == 0) < 0.8


def test_a_training_step_is_the_same_in_both():
    model = models.conv_norm_relu(kernel_regularizer="l2")
    before = model.get_layer("norm").get_weights()[3]
    converted = to_tf_keras(model)
    x = parity.random_input(open_student(model), 5)
    assert_close(model(x, training=True), converted(x, training=True))
    assert_close(model.losses, converted.losses)
    *expected, variance = model.get_layer("norm").get_weights()
    *found, sample_variance = converted.get_layer("norm").get_weights()
    assert_close(expected, found)
    # tf_keras uses the sample variance: n / (n - 1) of that of Keras 3.
    n = 5 * 6 * 6
    expected = (variance - 0.99 * before) * n / (n - 1)
    assert_close(expected, sample_variance - 0.99 * before, 1e-4)


def test_the_keras_3_model_is_not_changed():
    model = models.conv_norm_relu()
    before = model.get_weights()
    converted = to_tf_keras(model)
    converted.set_weights([weight + 1 for weight in converted.get_weights()])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_calls_are_sorted_from_inputs_to_outputs():
    x = keras.Input((4,), name="x")
    a = layers.Dense(4, name="a")(x)
    b = layers.Dense(4, name="b")(a)
    layers.Dense(4, name="unused")(b)
    graph = open_student(keras.Model(x, layers.Add(name="sum")([b, a])))
    assert [call.path for call in sort_calls(graph)] == ["a", "b", "sum"]
    after_a = graph.calls["a"][0].outputs
    assert [call.path for call in sort_calls(graph, after_a)] == ["b", "sum"]


def test_unbuilt_models_and_tf_keras_models_are_rejected():
    with pytest.raises(ValueError, match="is not built"):
        to_tf_keras(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(TypeError, match=r"must be a keras\.Model"):
        to_tf_keras(to_tf_keras(models.nested()))


def test_weights_of_another_model_are_rejected():
    converted = to_tf_keras(models.conv_norm_relu())
    with pytest.raises(ValueError, match=r"'middle/deepest/dense' .* layer of that name has none"):
        to_keras(converted, models.nested())


def test_an_application_computes_the_same_in_tf_keras():
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV3Small(
        (32, 32, 3), weights=None, classes=10, classifier_activation=None
    )
    x = np.random.default_rng(0).uniform(0, 255, (3, *model.input_shape[1:])).astype("float32")
    # Statistics as after training, so that the activations neither vanish nor explode.
    model(x, training=True)
    converted = to_tf_keras(model)
    assert_close(model(x, training=False), converted(x, training=False))
    returned = to_keras(converted, model)
    assert_close(model(x, training=False), returned(x, training=False), 0.0)
