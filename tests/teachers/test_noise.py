"""Noise: its statistics, which samples it perturbs, and its seeds."""

import keras
import numpy as np
import pytest

import keras_kd as kd

LOGITS = np.random.default_rng(0).normal(size=(4000, 10)).astype("float32") * 3


def test_multiplicative_noise_has_the_given_standard_deviation():
    noise = kd.noise.LogitNoise(0.5, seed=1)
    factor = np.asarray(noise(LOGITS)) / LOGITS - 1
    # One factor per sample keeps the order of the classes.
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1], factor.shape), atol=1e-4)
    assert abs(factor.mean()) < 0.02
    assert abs(factor[:, 0].std() - 0.5) < 0.02


def test_additive_noise_has_the_given_standard_deviation():
    difference = np.asarray(kd.noise.LogitNoise(2.0, kind="additive", seed=1)(LOGITS)) - LOGITS
    assert abs(difference.mean()) < 0.05
    assert abs(difference.std() - 2.0) < 0.05
    assert abs(np.corrcoef(difference[:, 0], difference[:, 1])[0, 1]) < 0.05  # One draw per logit.


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_whole_samples_are_perturbed_with_the_given_probability(probability):
    noisy = np.asarray(kd.noise.LogitNoise(1.0, probability, seed=1)(LOGITS))
    changed = noisy != LOGITS
    assert (changed.all(axis=1) == changed.any(axis=1)).all()
    assert abs(changed.any(axis=1).mean() - probability) < 0.03


def test_each_call_draws_anew_and_a_seed_repeats_the_draws():
    one, other = (kd.noise.LogitNoise(1.0, seed=5) for _ in range(2))
    first = [np.asarray(one(LOGITS)) for _ in range(2)]
    second = [np.asarray(other(LOGITS)) for _ in range(2)]
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(*first)
    different = np.asarray(kd.noise.LogitNoise(1.0, seed=6)(LOGITS))
    assert not np.array_equal(first[0], different)


def test_replicas_draw_independently():
    draws = []
    for replica in range(3):
        draws.append(np.asarray(kd.noise.LogitNoise(1.0, seed=5)(LOGITS, replica=replica)))
    factors = [draw[:, 0] / LOGITS[:, 0] - 1 for draw in draws]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(factors[a], factors[b])[0, 1]) < 0.05


def test_a_standard_deviation_of_zero_changes_nothing():
    np.testing.assert_array_equal(kd.noise.LogitNoise(0.0)(LOGITS), LOGITS)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_the_dtype_is_kept(dtype):
    values = keras.ops.cast(LOGITS, dtype)
    assert keras.backend.standardize_dtype(kd.noise.LogitNoise(1.0)(values).dtype) == dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stddev": -1}, "`stddev` must be a finite number at least 0"),
        ({"stddev": 1, "probability": 1.5}, "`probability`.*at most 1"),
        ({"stddev": 1, "kind": "gaussian"}, "`kind` must be one of"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kd.noise.LogitNoise(**arguments)
