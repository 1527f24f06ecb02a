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


def scores_of(model):
    """Return the scores of the units of the first group of a model."""
    found = channel_groups(model)
    scores = magnitude_scores(found)
    return [scores[unit] for unit in found.groups[0].units]


def relative_distances(kernels):
    """Return how far each row is from the others and from zero, relative to the mean."""
    kernels = kernels.astype("float64")
    others = np.concatenate([kernels, np.zeros_like(kernels[:1])])
    sums = np.linalg.norm(kernels[:, None] - others, axis=-1).sum(axis=1)
    return sums / sums.mean()


def test_magnitude_is_the_distance_of_a_kernel_from_the_others():
    model = mlp()
    expected = relative_distances(model.get_layer("hidden").kernel.numpy().T)
    np.testing.assert_allclose(scores_of(model), expected, rtol=1e-5)


def test_a_unit_with_a_kernel_of_zeros_is_the_least_important():
    model = mlp()
    kernel = model.get_layer("hidden").kernel
    kernel.assign(np.array([[5, 0, 5.1, 5.2]] * 3))
    assert scores_of(model)[1] == 0


@pytest.mark.parametrize("between", [[], [layers.ReLU(), layers.Dropout(0.1)]])
def test_the_size_of_a_kernel_before_a_normalization_does_not_count(between):
    norm = layers.BatchNormalization()
    steps = [keras.Input((3,)), layers.Dense(4), *between, norm, layers.Dense(2)]
    model = keras.Sequential(steps)
    norm.gamma.assign([-3, 1, 2, 0])
    np.testing.assert_allclose(scores_of(model), [2, 2 / 3, 4 / 3, 0], rtol=1e-6)


def test_a_normalization_without_scales_leaves_the_kernel():
    hidden = layers.Dense(4)
    norm = layers.BatchNormalization(scale=False)
    model = keras.Sequential([keras.Input((3,)), hidden, norm, layers.Dense(2)])
    expected = relative_distances(hidden.kernel.numpy().T)
    np.testing.assert_allclose(scores_of(model), expected, rtol=1e-5)


def test_the_heads_of_an_attention_before_a_normalization_have_no_scale():
    inputs = keras.Input((4, 3))
    attention = layers.MultiHeadAttention(2, 3)
    x = layers.BatchNormalization()(attention(inputs, inputs))
    parts = (attention.query_dense, attention.key_dense, attention.value_dense)
    kernels = [part.kernel.numpy().transpose(1, 0, 2).reshape(2, -1) for part in parts]
    expected = sum(map(relative_distances, kernels))
    np.testing.assert_allclose(scores_of(keras.Model(inputs, x)), expected, rtol=1e-5)


def test_sizes_of_coupled_layers_are_added():
    inputs = keras.Input((3,))
    plain, norm = layers.Dense(4), layers.BatchNormalization()
    x = layers.Add()([plain(inputs), norm(layers.Dense(4)(inputs))])
    model = keras.Model(inputs, layers.Dense(2)(x))
    norm.gamma.assign([1, 2, 3, 2])
    expected = relative_distances(plain.kernel.numpy().T) + np.array([1, 2, 3, 2]) / 2
    np.testing.assert_allclose(scores_of(model), expected, rtol=1e-5)


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


def test_taylor_keeps_the_statistics_of_normalizations():
    """With those of a batch, the loss does not depend on the scale of a channel before them."""
    keras.utils.set_random_seed(0)
    steps = [layers.Dense(1, name="unit"), layers.Dense(3), layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((2,)), *steps, layers.Dense(1)])
    found = channel_groups(model)
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 5, (8, 2)).astype("float32"), rng.normal(size=(8, 1)).astype("float32")
    scores = taylor_scores(model, found, Training(data=(x, y), epochs=1, loss="mse", verbose=0))
    before = model.layers[1].kernel.numpy()
    losses = []
    for factor in (1.5, 0.5):  # The loss is quadratic in it.
        model.layers[1].kernel.assign(factor * before)
        losses.append(np.square(model(x) - y).mean())
    expected = (losses[0] - losses[1]) ** 2
    assert [scores[unit] for unit in found.groups[0].units] == pytest.approx([expected], rel=1e-3)


def test_a_frozen_model_has_no_gradients():
    model = mlp()
    model.trainable = False
    plan = Training(data=(np.ones((4, 3)), np.ones((4, 2))), epochs=1, loss="mse", verbose=0)
    with pytest.raises(ValueError, match="needs gradients"):
        taylor_scores(model, channel_groups(model), plan)
