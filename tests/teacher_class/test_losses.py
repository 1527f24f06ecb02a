"""The loss of an ensemble: its parts computed by hand, and its names in the history."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.teacher_class.losses import (
    TeacherClassLosses,
    get_mimicry_loss,
    require_no_compiled_loss,
)
from tests.teacher_class.models import discriminator
from tests.teacher_class.test_discriminators import discriminators


def values(size, seed):
    return np.random.default_rng(seed).normal(size=(6, size)).astype("float32")


TARGETS, OUTPUTS = [values(4, 0), values(3, 1)], [values(4, 2), values(3, 3)]
WHOLE = np.concatenate(TARGETS, axis=-1)
CHUNKS = [[0, 1, 2, 3], [4, 5, 6], [4, 5, 6]]
WEIGHTS = np.linspace(0, 2, 6).astype("float32")


def mimicry(weights=1.0):
    pairs = zip(TARGETS, OUTPUTS, strict=True)
    return [np.mean(weights * np.mean((one - two) ** 2, axis=1)) for one, two in pairs]


def losses(numbers=(0, 1), students=(), **kwargs):
    loss = kd.losses.ChunkMimicry(**kwargs)
    layer = discriminators([discriminator(4), discriminator(3)], ((None, 4), (None, 3)))
    return TeacherClassLosses(loss, layer, list(numbers), list(students), CHUNKS, None)


def test_the_total_is_the_weighted_sum_of_its_parts():
    regularized = keras.Sequential(
        [keras.Input((6,)), layers.Dense(3, kernel_regularizer="l2"), layers.Dense(2)]
    )
    given = losses(students=[regularized], weight=0.5)
    total = given.total(WHOLE, OUTPUTS, WEIGHTS, 6, training=True)
    found = given.results(training=True)
    np.testing.assert_allclose([found["student_0"], found["student_1"]], mimicry(WEIGHTS), 1e-5)
    adversarial = [
        np.mean(WEIGHTS * given.discriminators.adversarial_loss(i, OUTPUTS[i])) for i in (0, 1)
    ]
    np.testing.assert_allclose(
        [found["adversarial_0"], found["adversarial_1"]], adversarial, rtol=1e-5
    )
    penalty = float(ops.sum(regularized.losses))
    expected = 0.5 * sum(mimicry(WEIGHTS)) + 0.1 * sum(adversarial) + penalty
    np.testing.assert_allclose([total, found["loss"]], expected, rtol=1e-5)


def test_sample_weights_of_positions_weigh_the_positions_of_a_map():
    rng = np.random.default_rng(0)
    chunk, output = rng.normal(size=(2, 6, 5, 4)).astype("float32")
    weights = rng.uniform(size=(6, 5)).astype("float32")
    given = TeacherClassLosses(kd.losses.ChunkMimicry(), None, [0], [], CHUNKS, None)
    total = given.total(chunk, [output], weights, 6, training=True)
    expected = np.mean(np.square(chunk - output).mean(-1) * weights)
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_evaluation_has_mimicry_only():
    given = losses(numbers=(0, 2))
    total = given.total(WHOLE, OUTPUTS, None, 6, training=False)
    np.testing.assert_allclose(total, sum(mimicry()), rtol=1e-5)
    assert set(given.results(training=False)) == {"loss", "student_0", "student_2"}


def test_the_history_of_training_has_every_part():
    given = losses()
    given.train_discriminators(WHOLE, OUTPUTS, None, 6)
    parts = ("student", "adversarial", "discriminator")
    assert given.names() == ["loss", *(f"{part}_{i}" for part in parts for i in (0, 1))]
    assert float(given.results(training=True)["discriminator_1"]) > 0


def test_without_discriminators_nothing_is_trained():
    given = TeacherClassLosses(kd.losses.ChunkMimicry(), None, [0, 1], [], CHUNKS, None)
    given.train_discriminators(WHOLE, OUTPUTS, None, 6)
    assert given.names() == ["loss", "student_0", "student_1"]


def test_the_mimicry_loss_needs_neither_labels_nor_classes():
    assert isinstance(get_mimicry_loss(None), kd.losses.ChunkMimicry)
    with pytest.raises(ValueError, match="without labels or classes.*DecoupledKD"):
        get_mimicry_loss("decoupled_kd")


def test_a_loss_or_metrics_of_compile_are_rejected():
    require_no_compiled_loss({"optimizer": "sgd", "loss": None})
    with pytest.raises(ValueError, match="Received: loss, metrics in `compile`"):
        require_no_compiled_loss({"loss": "mse", "metrics": ["accuracy"]})
