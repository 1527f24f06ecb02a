import keras
import numpy as np
import pytest

from keras_kd.losses.reduction import mean_over_samples, mean_per_sample

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(4, 3, 2))
WEIGHTS = RNG.uniform(size=(4, 3, 2))


def masked(values, mask):
    tensor = keras.ops.convert_to_tensor(values)
    tensor._keras_mask = keras.ops.convert_to_tensor(mask)
    return tensor


def test_the_mean_over_samples_divides_by_the_batch_size():
    values, weights = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.5, 2.0])
    assert float(mean_over_samples(values)) == 2
    assert float(mean_over_samples(values, weights)) == pytest.approx(8 / 3)
    assert float(mean_over_samples(np.zeros(0))) == 0


def test_the_mean_of_a_sample_skips_masked_steps():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]], "float32")
    mask = np.array([[True, False, True], [False, False, False]])
    np.testing.assert_array_equal(mean_per_sample(masked(values, mask)), [2, 0])
    features = np.arange(12.0).reshape(2, 3, 2)
    expected = [features[0, [0, 2]].mean(), 0]
    np.testing.assert_allclose(mean_per_sample(masked(features, mask)), expected)
    np.testing.assert_allclose(mean_per_sample(features), features.reshape(2, -1).mean(1))
    np.testing.assert_array_equal(mean_per_sample(np.ones(2)), np.ones(2))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (WEIGHTS, VALUES * WEIGHTS),
        (WEIGHTS[..., None], VALUES * WEIGHTS),
        (WEIGHTS[..., :1], VALUES * WEIGHTS[..., :1]),
        (WEIGHTS[..., 0], VALUES * WEIGHTS[..., :1]),
        (WEIGHTS[:, 0, 0], VALUES * WEIGHTS[:, :1, :1]),
        (WEIGHTS[:, 0, :1], VALUES * WEIGHTS[:, :1, :1]),
        (WEIGHTS[:, :2], VALUES * WEIGHTS[:, :2].mean((1, 2), keepdims=True)),
        (WEIGHTS[:, 0], VALUES * WEIGHTS[:, 0].mean(1)[:, None, None]),
    ],
)
def test_weights_of_the_positions_weigh_them_and_others_weigh_samples(weights, expected):
    found = mean_per_sample(keras.ops.convert_to_tensor(VALUES), weights)
    np.testing.assert_allclose(found, expected.mean((1, 2)), rtol=1e-12)


def test_weights_of_positions_weigh_a_loss_with_one_value_per_sample_by_their_mean():
    found = mean_per_sample(keras.ops.convert_to_tensor(VALUES[:, 0, 0]), WEIGHTS)
    np.testing.assert_allclose(found, VALUES[:, 0, 0] * WEIGHTS.mean((1, 2)), rtol=1e-12)


def test_weights_of_the_positions_apply_to_the_steps_that_are_not_masked():
    values, weights = VALUES[..., 0], WEIGHTS[..., 0]
    mask = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]], bool)
    expected = [(values[i] * weights[i])[mask[i]].mean() for i in range(4)]
    np.testing.assert_allclose(mean_per_sample(masked(values, mask), weights), expected)


def test_several_pairs_count_as_the_mean_over_the_pairs():
    pairs = [keras.ops.convert_to_tensor(VALUES), keras.ops.convert_to_tensor(VALUES[:, 0])]
    expected = ((VALUES * WEIGHTS).mean((1, 2)) + VALUES[:, 0].mean(1) * WEIGHTS.mean((1, 2))) / 2
    np.testing.assert_allclose(mean_per_sample(pairs, WEIGHTS), expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS[:, 0, :1], WEIGHTS[..., 0]])
def test_it_equals_the_reduction_of_a_keras_loss(weights):
    """Keras's compiled losses: the mean over samples and positions of value times weight."""
    y, y_pred = RNG.normal(size=(2, 4, 3, 2))
    expected = keras.losses.MeanSquaredError(dtype="float64")(y, y_pred, weights)
    values = keras.ops.convert_to_tensor(((y - y_pred) ** 2).mean(-1))
    np.testing.assert_allclose(mean_over_samples(values, weights), expected, rtol=1e-12)
