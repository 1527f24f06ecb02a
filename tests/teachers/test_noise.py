"""Noise: its statistics, for which samples, fresh, seeded, the same after a resume."""

import keras
import numpy as np
import pytest

import keras_kd as kd

LOGITS = np.random.default_rng(0).normal(size=(4000, 10)).astype("float32") * 3


def test_multiplicative_noise_has_the_standard_deviation_asked_for():
    noise = kd.noise.LogitNoise(0.5, seed=1)
    factor = np.asarray(noise(LOGITS)) / LOGITS - 1
    # One factor for each sample: a factor for each logit would lose what the teacher says.
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1], factor.shape), atol=1e-4)
    assert abs(factor.mean()) < 0.02
    assert abs(factor[:, 0].std() - 0.5) < 0.02


def test_additive_noise_has_the_standard_deviation_asked_for():
    difference = np.asarray(kd.noise.LogitNoise(2.0, kind="additive", seed=1)(LOGITS)) - LOGITS
    assert abs(difference.mean()) < 0.05
    assert abs(difference.std() - 2.0) < 0.05
    assert abs(np.corrcoef(difference[:, 0], difference[:, 1])[0, 1]) < 0.05  # Each has its own.


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_sample_is_perturbed_with_the_probability_as_a_whole(probability):
    noisy = np.asarray(kd.noise.LogitNoise(1.0, probability, seed=1)(LOGITS))
    touched = noisy != LOGITS
    assert (touched.all(axis=1) == touched.any(axis=1)).all()
    assert abs(touched.any(axis=1).mean() - probability) < 0.03


def test_it_is_fresh_each_time_and_the_same_for_the_same_seed():
    one, other = (kd.noise.LogitNoise(1.0, seed=5) for _ in range(2))
    first = [np.asarray(one(LOGITS)) for _ in range(2)]
    second = [np.asarray(other(LOGITS)) for _ in range(2)]
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(*first)
    different = np.asarray(kd.noise.LogitNoise(1.0, seed=6)(LOGITS))
    assert not np.array_equal(first[0], different)


def test_no_two_replicas_draw_the_same():
    draws = []
    for replica in range(3):
        draws.append(np.asarray(kd.noise.LogitNoise(1.0, seed=5)(LOGITS, replica=replica)))
    factors = [draw[:, 0] / LOGITS[:, 0] - 1 for draw in draws]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(factors[a], factors[b])[0, 1]) < 0.05


def test_a_standard_deviation_of_zero_changes_nothing():
    np.testing.assert_array_equal(kd.noise.LogitNoise(0.0)(LOGITS), LOGITS)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_the_dtype_stays(dtype):
    values = keras.ops.cast(LOGITS, dtype)
    assert keras.backend.standardize_dtype(kd.noise.LogitNoise(1.0)(values).dtype) == dtype


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"stddev": -1}, "`stddev` must be a finite number at least 0"),
        ({"stddev": 1, "probability": 1.5}, "`probability`.*at most 1"),
        ({"stddev": 1, "kind": "gaussian"}, "`kind` must be one of"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.noise.LogitNoise(**arguments)
