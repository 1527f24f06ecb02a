"""Epochs on the device are the steps that the model would run one by one."""

import numpy as np
import pytest

pytest.importorskip("jax", reason="the GPU benchmark needs JAX")
import keras

if keras.config.backend() != "jax":
    pytest.skip("the GPU benchmark needs KERAS_BACKEND=jax", allow_module_level=True)

import jax
import jax.numpy as jnp

from benchmarks.gpu.cifar100 import METHODS
from benchmarks.gpu.epochs import (
    Recipe,
    Training,
    groups_of,
    table_function,
    values_of,
    warmup,
)
from benchmarks.gpu.images import VIEWS, Images, take_views
from benchmarks.gpu.methods import build_training
from benchmarks.gpu.networks import CLASSES, build

RECIPE = Recipe(samples=32, batch=8, chunk=2)
IMAGES = Images.random(32)


def run(training, tables, seed=0, epochs=2):
    state, losses = training.run(*training.arguments(IMAGES, tables, seed, epochs))
    return training.weights(state), losses


def step_by_step(training, tables, seed=0, epochs=2):
    state, *_, key, _, _ = training.arguments(IMAGES, tables, seed, epochs)
    step = jax.jit(training.model.train_step)
    for number in range(epochs):
        for (group, i), function in training.by_epoch:
            state[group][i] = jnp.asarray(function(number, epochs), state[group][i].dtype)
        for ids, views in zip(*training._draw(jax.random.fold_in(key, number)), strict=True):
            logits = [table[views, ids] for table in tables]
            x = training.inputs(take_views(IMAGES.x, ids, views), logits)
            _, state = step(tuple(state), (x, IMAGES.y[ids]))
            state = [list(group) for group in state]
    return training.weights(state)


@pytest.mark.parametrize("method", ["alone", "dkd", "screened"])
def test_epochs_are_the_steps_of_the_model(method):
    training = build_training(method, "tiny", "tiny_student", RECIPE)
    rng = np.random.default_rng(0)
    shape = (VIEWS, 32, CLASSES)
    tables = [jnp.asarray(rng.normal(size=shape), "float32") for _ in METHODS[method][1]]
    weights, losses = run(training, tables)
    expected = step_by_step(training, tables)
    assert losses.shape == (2,)
    for value, other in zip(jax.tree.leaves(weights), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(value, other, rtol=0.02, atol=2e-3)  # bfloat16


def test_a_seed_sets_the_weights_and_each_seed_starts_anew():
    network = build("tiny_student")
    training = Training(network, network, RECIPE)
    first, again, other = (jax.tree.leaves(run(training, (), seed)[0]) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_the_learning_rate_drops_three_times():
    recipe = Recipe(samples=32, batch=128)
    rates = [float(recipe.learning_rate(epoch, 240)) for epoch in (0, 149, 150, 180, 210, 239)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 1e-3, 1e-4, 1e-4], rtol=1e-5)
    rates = [float(recipe.learning_rate(epoch, 24)) for epoch in (14, 15, 18, 21)]
    np.testing.assert_allclose(rates, [0.1, 0.01, 1e-3, 1e-4], rtol=1e-5)


def test_the_weight_of_decoupled_distillation_grows_during_a_twelfth_of_the_epochs():
    weights = [float(warmup(epoch, 240)) for epoch in (0, 9, 19, 239)]
    np.testing.assert_allclose(weights, [0.05, 0.5, 1, 1], rtol=1e-6)
    assert float(warmup(0, 2)) == 1


def test_the_table_has_the_logits_of_every_view():
    network = build("tiny_teacher")
    table = table_function(network, 32)(values_of(groups_of(network)), IMAGES.x)
    assert table.shape == (VIEWS, 32, CLASSES)
    ids, views = jnp.array([3, 31, 0]), jnp.array([161, 80, 0])
    logits = network(take_views(IMAGES.x, ids, views), training=False)
    np.testing.assert_allclose(table[views, ids], logits, atol=0.02)  # bfloat16
