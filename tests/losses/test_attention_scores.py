import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.losses import AttentionScores
from keras_kd.models.keras_compat import set_mask
from tests import golden_numbers, toy
from tests.golden_numbers import value_and_gradient

TOKENS = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [9, 1, 0, 0, 0]])
TAP = "attention:1"


def scores(seed):
    values = np.exp(np.random.default_rng(seed).normal(size=(3, 2, 5, 5)))
    return values / values.sum(-1, keepdims=True)


def network(name, heads=2, units=8, seed=0):
    keras.utils.set_random_seed(seed)
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(10, units, mask_zero=True)(tokens)
    large = keras.initializers.RandomNormal(stddev=3.0)
    attention = layers.MultiHeadAttention(heads, 4, name="attention", kernel_initializer=large)
    x, _ = attention(x, x, return_attention_scores=True)
    return keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)), name=name)


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
def test_it_gives_the_numbers_of_the_formula(dtype):
    teacher, student = scores(0), scores(1)
    taps = (x.astype(dtype) for x in (teacher, student))
    values, gradient = value_and_gradient(AttentionScores(TAP, TAP), *taps)
    near = golden_numbers.NEAR[dtype]
    expected = ((teacher - student) ** 2).sum(-1).mean((1, 2))
    np.testing.assert_allclose(values, expected, rtol=near)
    np.testing.assert_allclose(gradient, 2 * (student - teacher) / 30, rtol=0, atol=near)


@pytest.mark.parametrize("of_queries", [True, False])
def test_masked_steps_do_not_count(of_queries):
    real = TOKENS > 0
    teacher, student = scores(0), scores(1)
    pairs = (real[:, :, None] & real[:, None, :])[:, None]
    expected = [
        ((teacher - student)[i][:, :n, : 5 if of_queries else n] ** 2).sum(-1).mean()
        for i, n in enumerate(real.sum(1))
    ]
    masked = set_mask(keras.ops.convert_to_tensor(student), real if of_queries else pairs)
    found = AttentionScores(TAP, TAP)(teacher, masked)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_padding_changes_nothing_in_a_distiller():
    def value(tokens):
        model = kd.Distiller(
            network("student", seed=1),
            network("teacher", units=16, seed=2),
            AttentionScores(TAP, TAP),
        )
        model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), run_eagerly=True)
        return model.fit(tokens, np.zeros(len(tokens)), verbose=0).history["attention_scores"]

    short = np.array([[1, 2, 3], [4, 5, 0]])
    expected = value(short)
    assert expected[0] > 1e-3
    np.testing.assert_allclose(value(np.pad(short, ((0, 0), (0, 4)))), expected, rtol=1e-5)


def test_it_is_a_conforming_loss():
    loss = AttentionScores(TAP, TAP, 0.5, "mine")
    kd.testing.check_loss(loss, scores(0), scores(1), np.zeros(3, "int32"))
    again = kd.losses.deserialize(kd.losses.serialize(loss))
    assert again.get_config() == loss.get_config()


def test_other_taps_are_rejected():
    with pytest.raises(ValueError, match="AttentionScores compares the scores of equally many"):
        kd.Distiller(network("s"), network("t", heads=4), AttentionScores(TAP, TAP))
    with pytest.raises(ValueError, match="return_attention_scores=True"):
        AttentionScores().make_projector((None, 5, 8), (None, 5, 8))
