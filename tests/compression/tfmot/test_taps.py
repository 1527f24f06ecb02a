"""Taps of the Keras 3 student are found in the tf_keras model that runs in its place."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.tfmot.convert import convert_student
from keras_kd.compression.tfmot.pruning import make_schedule, wrap_for_pruning
from keras_kd.compression.tfmot.taps import TfKerasTappedModel
from keras_kd.compression.tfmot.wrapper import wrap
from keras_kd.models.taps import Tap, TappedModel
from tests import toy


def tap_both(model, taps, names=()):
    """The tapped Keras 3 model, and the tapped tf_keras model with some layers wrapped."""
    converted = convert_student(model, None)
    pruned = wrap_for_pruning(converted, names, {}, lambda calls: make_schedule(0.5, 9, calls))
    wrapped = wrap(model, converted, pruned.model)
    return TappedModel(model, taps), TfKerasTappedModel(wrapped, model, taps)


def assert_same_taps(model, taps, names=()):
    expected, found = tap_both(model, taps, names)
    x = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype("float32")
    outputs, tapped = expected(x)
    tf_keras_outputs, tf_keras_tapped = found(x)
    np.testing.assert_allclose(outputs, tf_keras_outputs, atol=1e-5)
    assert list(tapped) == list(tf_keras_tapped)
    for tap, value in tapped.items():
        np.testing.assert_allclose(value, tf_keras_tapped[tap], atol=1e-5, err_msg=str(tap))


def test_taps_of_plain_and_wrapped_layers():
    taps = [Tap("conv"), Tap("relu"), Tap("features"), Tap()]
    assert_same_taps(toy.cnn("student"), taps, names=["conv", "features"])


def test_logits_before_a_softmax():
    assert_same_taps(toy.cnn("student", activation="softmax"), [Tap(logits=True)], ["logits"])


def test_a_tap_inside_a_nested_model():
    inner = toy.cnn("inner")
    x = keras.Input((6, 6, 1))
    assert_same_taps(keras.Model(x, inner(x), name="student"), [Tap("inner/relu")])


def test_a_layer_inside_another_one_cannot_be_tapped():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")], name="inner")
    x = keras.Input((5, 4))
    outputs = layers.TimeDistributed(inner, name="steps")(x)
    model = keras.Model(x, layers.GlobalAveragePooling1D()(outputs), name="student")
    with pytest.raises(ValueError, match="steps/"):
        tap_both(model, [Tap("steps/inner")])


def test_one_call_of_several_cannot_be_tapped():
    shared, x = layers.Dense(5, name="shared"), keras.Input((5,))
    model = keras.Model(x, layers.Dense(2)(shared(shared(x))), name="student")
    with pytest.raises(ValueError, match="'shared' of 'student' is called 2 times, and a single"):
        tap_both(model, [Tap("shared@0")])


def test_one_tensor_of_several():
    x = keras.Input((4, 5))
    steps, state = layers.SimpleRNN(3, return_sequences=True, return_state=True, name="rnn")(x)
    joined = layers.Concatenate()([layers.GlobalAveragePooling1D()(steps), state])
    model = keras.Model(x, layers.Dense(2, name="head")(joined), name="student")
    assert_same_taps(model, [Tap("rnn:0"), Tap("rnn:1")])
