"""The least important channels are those that matter least."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.channel_groups import channel_groups
from keras_kd.compression.channel_importance import (
    magnitude_scores,
    random_scores,
    taylor_scores,
)
from keras_kd.compression.training import Training


def mlp():
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(4, activation="relu", name="hidden")
    model = keras.Sequential([keras.Input((3,)), hidden, layers.Dense(2, name="head")])
    hidden.bias.assign([0.5, 0.6, 0.7, 0.8])
    return model


def test_magnitude_is_relative_to_the_mean_of_each_weight():
    model = mlp()
    found = channel_groups(model)
    kernel, bias = model.get_layer("hidden").weights
    parts = (
        np.square(kernel).sum(axis=0),
        np.square(bias),
        np.square(model.layers[1].kernel).sum(1),
    )
    expected = sum(part / part.mean() for part in map(np.asarray, parts))
    scores = magnitude_scores(found)
    (group,) = found.groups
    np.testing.assert_allclose([scores[unit] for unit in group.units], expected, rtol=1e-5)


def test_random_scores_depend_on_the_seed():
    found = channel_groups(mlp())
    assert random_scores(found, 0) == random_scores(found, 0) != random_scores(found, 1)
    assert set(random_scores(found, 0)) == set(found.groups[0].units)


def test_taylor_is_the_squared_derivative_by_a_factor_of_each_unit():
    model, rng = mlp(), np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype("float32"), rng.normal(size=(8, 2)).astype("float32")
    found = channel_groups(model)
    batches = [(x[:4], y[:4]), (x[4:], y[4:])]
    plan = Training(data=batches, epochs=1, loss="mse", verbose=0)
    before = model.get_weights()
    scores = taylor_scores(model, found, plan)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    kernel, bias = (np.asarray(w, "float64") for w in model.layers[1].weights)
    hidden = np.maximum(x @ before[0] + before[1], 0)
    expected = 0
    for batch in np.split(np.arange(8), 2):
        error = 2 * (hidden[batch] @ kernel + bias - y[batch]) / (2 * len(batch))
        expected = expected + np.square(((hidden[batch].T @ error) * kernel).sum(axis=1))
    found_scores = [scores[unit] for unit in found.groups[0].units]
    np.testing.assert_allclose(found_scores, expected, rtol=1e-4)


def test_a_frozen_model_has_no_gradients():
    model = mlp()
    model.trainable = False
    plan = Training(data=(np.ones((4, 3)), np.ones((4, 2))), epochs=1, loss="mse", verbose=0)
    with pytest.raises(ValueError, match="needs gradients"):
        taylor_scores(model, channel_groups(model), plan)
