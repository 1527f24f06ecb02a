"""The bridge to tf_keras and back: what it carries over is the same, what it cannot it refuses."""

import re

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers, tree

from keras_kd import compression
from keras_kd.compression.tfmot import parity
from keras_kd.compression.tfmot.convert import read
from keras_kd.models.precision import compute_in_float32
from tests.compression import models


def same(one, other, tolerance=1e-5):
    for a, b in zip(tree.flatten(one), tree.flatten(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(np.asarray(a)).max())


def sample(model, samples=5):
    return parity.random_input(read(model), samples)


@pytest.mark.parametrize("kind", models.CARRIED)
def test_a_layer_computes_the_same_in_tf_keras_and_its_weights_come_back(kind):
    model = models.CARRIED[kind]()
    x = sample(model)
    legacy = compression.to_tf_keras(model)
    with compute_in_float32(model):
        same(model(x, training=False), legacy(x, training=False))
    back = compression.to_keras(legacy, model)
    assert type(back) is type(model)
    for old, new in zip(model.weights, back.weights, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("kind", models.REFUSED)
def test_what_cannot_be_carried_over_is_refused_by_name_with_the_way_out(kind):
    make, sentence = models.REFUSED[kind]
    with pytest.raises(ValueError, match=re.escape(sentence)):
        compression.to_tf_keras(make())


def test_layers_keep_their_names_and_those_of_nested_models_become_paths():
    legacy = compression.to_tf_keras(models.nested())
    assert [layer.name for layer in legacy.layers[1:]] == ["middle/deepest/dense", "dense"]
    assert legacy.get_layer("middle/deepest/dense").activation is tf_keras.activations.relu
    kept = compression.to_tf_keras(models.nested(), fuse_relu=False)
    assert [type(layer).__name__ for layer in kept.layers[1:]] == ["Dense", "ReLU", "Dense"]


def test_a_relu_is_fused_only_where_nobody_else_sees_what_is_before_it():
    x = keras.Input((6,))
    before = layers.Dense(3, name="before")(x)
    model = keras.Model(x, layers.Add()([layers.ReLU()(before), before]))
    legacy = compression.to_tf_keras(model)
    assert legacy.get_layer("before").activation is tf_keras.activations.linear
    both = keras.Model(x, [before, layers.ReLU()(before)])
    same(both(np.eye(6)), compression.to_tf_keras(both)(np.eye(6, dtype="float32")))


@pytest.mark.parametrize("relu", [layers.ReLU(), layers.Activation("relu"), keras.ops.relu])
def test_every_form_of_a_relu_is_fused(relu):
    legacy = compression.to_tf_keras(models.conv_norm_relu(norm=False, relu=relu))
    assert legacy.get_layer("conv").activation is tf_keras.activations.relu
    assert len(legacy.layers) == 4


def test_frozen_layers_stay_frozen_and_dropout_stays_on_in_training():
    model = models.conv_norm_relu()
    model.get_layer("conv").trainable = False
    legacy = compression.to_tf_keras(model)
    assert not legacy.get_layer("conv").trainable
    assert legacy.get_layer("head").trainable
    assert not compression.to_keras(legacy, model).get_layer("conv").trainable
    dropped = compression.to_tf_keras(models.of(layers.Dropout(0.5), (100,)))
    assert 0.2 < np.mean(dropped(np.ones((10, 100)), training=True) == 0) < 0.8


def test_a_step_of_training_is_the_same_in_both():
    model = models.conv_norm_relu(kernel_regularizer="l2")
    legacy = compression.to_tf_keras(model)
    x = sample(model)
    same(model(x, training=True), legacy(x, training=True))
    same(model.losses, legacy.losses)
    *ours, variance = model.get_layer("norm").get_weights()
    *theirs, corrected = legacy.get_layer("norm").get_weights()
    same(ours, theirs)
    # tf_keras takes the sample's variance: n / (n - 1) of Keras 3's.
    n, before = 5 * 6 * 6, np.abs(models.conv_norm_relu().get_layer("norm").get_weights()[3])
    same((variance - 0.99 * before) * n / (n - 1), corrected - 0.99 * before, 1e-4)


def test_the_student_is_left_as_it_is():
    model = models.conv_norm_relu()
    before = model.get_weights()
    legacy = compression.to_tf_keras(model)
    legacy.set_weights([weight + 1 for weight in legacy.get_weights()])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class LegacyScale(tf_keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x):
        return x * self.scale


class LegacySquare(LegacyScale):
    def call(self, x):
        return x * self.scale**2


def test_a_custom_layer_takes_the_layer_that_stands_for_it():
    model = models.of(models.Scale(name="own"), (6,))
    for key in (models.Scale, "Scale"):
        legacy = compression.to_tf_keras(model, custom={key: lambda layer: LegacyScale()})
        assert legacy.get_layer("own").get_weights()[0].tolist() == model.get_weights()[0].tolist()
    back = compression.to_keras(legacy, model)
    np.testing.assert_array_equal(back.get_weights()[0], model.get_weights()[0])


def test_a_custom_layer_without_weights_runs_as_it_is():
    model = models.of(models.Halve(), (6,))
    legacy = compression.to_tf_keras(model, custom={models.Halve: "as_is"})
    x = sample(model)
    same(model(x), legacy(x))
    same(model(x), tf_keras.models.clone_model(legacy)(x))


def test_a_mapping_that_computes_something_else_is_refused_with_the_layer():
    x = keras.Input((6,))
    scaled = models.Scale(name="own")(layers.Dense(4, name="first")(x))
    model = models.randomized(keras.Model(x, layers.Dense(2, name="last")(scaled)))
    with pytest.raises(ValueError, match=r"differ by .* The first layer that differs is 'own'\."):
        compression.to_tf_keras(model, custom={models.Scale: lambda layer: LegacySquare()})


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (lambda layer: 3, TypeError, r"custom\[Scale\] must return a tf_keras layer. Received: 3"),
        (lambda layer: tf_keras.layers.Dense(2), ValueError, r"weights of shapes \[\(6,\)\], and"),
        ("as_is", ValueError, "'own' .Scale. cannot run as it is, since it has weights"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(answer, error, sentence):
    with pytest.raises(error, match=sentence):
        compression.to_tf_keras(models.of(models.Scale(name="own"), (6,)), {models.Scale: answer})


def test_an_unbuilt_model_and_what_is_no_model_are_refused():
    with pytest.raises(ValueError, match="is not built"):
        compression.to_tf_keras(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(TypeError, match=r"must be a keras\.Model"):
        compression.to_tf_keras(compression.to_tf_keras(models.nested()))


def test_weights_of_another_model_do_not_come_back():
    legacy = compression.to_tf_keras(models.conv_norm_relu())
    with pytest.raises(ValueError, match=r"'middle/deepest/dense' .* layer of that name has none"):
        compression.to_keras(legacy, models.nested())


APPLICATIONS = {
    "MobileNetV2": {"input_shape": (96, 96, 3), "alpha": 0.35},
    "ResNet50V2": {"input_shape": (64, 64, 3)},
    "EfficientNetB0": {"input_shape": (64, 64, 3)},
    "DenseNet121": {"input_shape": (64, 64, 3)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_computes_the_same_in_tf_keras(name):
    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, name)
    model = make(weights=None, classes=10, classifier_activation=None, **APPLICATIONS[name])
    x = np.random.default_rng(0).uniform(0, 255, (3, *model.input_shape[1:])).astype("float32")
    # Statistics as after training, so that the activations neither vanish nor explode.
    model(x, training=True)
    legacy = compression.to_tf_keras(model)
    same(model(x, training=False), legacy(x, training=False))
    back = compression.to_keras(legacy, model)
    same(model(x, training=False), back(x, training=False), 0.0)
