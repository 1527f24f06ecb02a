"""Discriminators: what they and their students are trained on, computed by hand."""

import keras
import numpy as np
import pytest

from keras_kd.models.keras_compat import get_mask, set_mask
from keras_kd.teacher_class.discriminators import Discriminators, make_discriminators
from tests.teacher_class.models import discriminator, student

RATE = 0.5


def discriminators(models, shapes=((None, 4),)):
    optimizer = keras.optimizers.SGD(RATE)
    return Discriminators(models, optimizer, 0.1, [*range(len(models))], shapes)


def batch(seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(6, 4)).astype("float32") for _ in range(2))


def logits(model, values):
    kernel, bias = model.get_weights()
    return (values @ kernel + bias)[:, 0]


def test_a_student_is_trained_to_be_classified_as_the_teacher():
    _, outputs = batch()
    layer = discriminators([discriminator(4)])
    expected = np.logaddexp(0, -logits(layer.discriminators[0], outputs))
    np.testing.assert_allclose(layer.adversarial_loss(0, outputs), expected, rtol=1e-5)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_a_step_is_one_of_the_optimizer_on_the_cross_entropy(activation):
    chunks, outputs = batch()
    weights = np.linspace(0, 2, 6).astype("float32")
    layer = discriminators([discriminator(4, activation)])
    (model,) = layer.discriminators
    real, fake, bias = logits(model, chunks), logits(model, outputs), model.get_weights()[1]
    (loss,) = layer.train_step([chunks], [outputs], weights)
    expected = (np.logaddexp(0, -real) + np.logaddexp(0, fake)) / 2
    np.testing.assert_allclose(loss, np.mean(weights * expected), rtol=1e-5)
    slope = (1 / (1 + np.exp(-fake)) - 1 / (1 + np.exp(real))) / 2
    moved = bias - RATE * np.mean(weights * slope)
    np.testing.assert_allclose(model.get_weights()[1], moved, atol=1e-6)


def test_masked_steps_of_sequences_do_not_count():
    rng, real = np.random.default_rng(0), np.array([[True, True, False], [True, False, False]])
    chunk, output = (rng.normal(size=(2, 3, 4)).astype("float32") for _ in range(2))
    kernel = keras.initializers.RandomNormal(seed=1)
    model = keras.Sequential(
        [keras.Input((3, 4)), keras.layers.Dense(1, kernel_initializer=kernel)]
    )
    layer = discriminators([model], ((None, 3, 4),))
    (weights, bias) = model.get_weights()
    one, other = ((values @ weights + bias)[..., 0] for values in (chunk, output))
    masked = set_mask(keras.ops.convert_to_tensor(output), real)
    values = layer.adversarial_loss(0, masked)
    np.testing.assert_array_equal(get_mask(values), real)
    np.testing.assert_allclose(values, np.logaddexp(0, -other), rtol=1e-5)
    (loss,) = layer.train_step([keras.ops.convert_to_tensor(chunk)], [masked], None)
    each = (np.logaddexp(0, -one) + np.logaddexp(0, other)) / 2
    expected = np.mean([each[i, steps].mean() for i, steps in enumerate(real)])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_float64_and_loss_scaling_follow_the_models():
    keras.config.set_dtype_policy("float64")
    try:
        double = discriminators([discriminator(4)])
    finally:
        keras.config.set_dtype_policy("float32")
    assert double.adversarial_loss(0, np.zeros((2, 4))).dtype == "float64"
    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = discriminators([discriminator(4)])
    finally:
        keras.config.set_dtype_policy("float32")
    assert mixed.adversarial_loss(0, np.zeros((2, 4), "float16")).dtype == "float32"
    assert isinstance(mixed.optimizer, keras.optimizers.LossScaleOptimizer)


def test_one_is_built_for_each_trained_student():
    chunks = [[0, 1, 2], [3, 4, 5, 6, 7]]
    layer = make_discriminators(discriminator, "adam", 0.1, chunks, [1], [student(5)])
    assert [model.input_shape for model in layer.discriminators] == [(None, 5)]
    assert make_discriminators(None, "adam", 0.1, chunks, [1], [student(5)]) is None


@pytest.mark.parametrize("models", [[student(1)], [discriminator(3)], [student(4)]])
def test_a_discriminator_that_does_not_fit_is_rejected(models):
    with pytest.raises(ValueError, match=r"discriminator 0 .* must accept its chunk, of shape"):
        discriminators(models)
