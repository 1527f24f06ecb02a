"""Trainings do not wait for the thread of `tf.data` that autotunes, at the end of each epoch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.distillers.fit import run_fit


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture
def batches():
    x, y = np.zeros((8, 2), "float32"), np.arange(8) % 3
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(4)


def received(model, **given):
    """What Keras's own `fit` is given."""
    found = {}

    def fit(**arguments):
        found.update(arguments)
        return model.fit(**arguments)

    run_fit(model, fit, {**given, "verbose": 0})
    return found


def test_data_sets_are_trained_on_without_autotuning(model, batches):
    found = received(model, x=batches, validation_data=batches)
    assert found["x"].options().autotune.enabled is False
    assert found["validation_data"].options().autotune.enabled is False


def test_a_user_who_wants_autotuning_has_it(model, batches):
    options = tf.data.Options()
    options.autotune.enabled = True
    found = received(model, x=batches.with_options(options))
    assert found["x"].options().autotune.enabled is True


def test_arrays_come_as_they_are(model):
    x, y = np.zeros((8, 2), "float32"), np.arange(8) % 3
    found = received(model, x=x, y=y, validation_data=(x, y))
    assert found["x"] is x
    assert found["validation_data"][0] is x


def test_digits_come_without_autotuning():
    assert kd.datasets.load("digits").options().autotune.enabled is False
