"""Zeros of pruned weights stay zero in a training."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.training.backend import BACKEND
from keras_kd.training.weight_rule import KeepZeros, pruned_variables, zero_fraction
from tests import toy


def test_zero_fraction_counts_all_kernels_together():
    assert zero_fraction([np.zeros(3), np.ones((3, 3))]) == 0.25
    assert zero_fraction([]) == 0.0


def test_pruned_variables_have_some_zeros_and_some_others():
    values = [np.eye(4), np.zeros((4, 4)), np.ones((4, 4)), np.zeros(4)]
    variables = [keras.Variable(value) for value in values]
    frozen = keras.Variable(np.eye(4), trainable=False)
    assert pruned_variables([*variables, frozen]) == variables[:1]


def test_zeros_stay_zero_and_the_others_are_updated():
    kernel = keras.Variable(np.eye(3))
    KeepZeros([kernel]).update([], [kernel], lambda gradients: kernel.assign(kernel + 1))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), 2 * np.eye(3))


def test_rules_for_the_same_weights_are_equal():
    one, other = keras.Variable(0.0), keras.Variable(0.0)
    assert KeepZeros([one]) == KeepZeros([one])
    assert KeepZeros([one]) != KeepZeros([other])
    assert KeepZeros([one]) != KeepZeros([one, other])


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_execution", [1] if BACKEND == "torch" else [1, 3])
def test_a_compiled_training_keeps_the_zeros(steps_per_execution):
    student = toy.mlp("student", units=8)
    kernel = student.get_layer("hidden").kernel
    mask = np.random.default_rng(0).random(kernel.shape) < 0.5
    kernel.assign(keras.ops.convert_to_numpy(kernel) * mask)
    distiller = kd.Distiller(student, toy.mlp("teacher", seed=1), preserve_sparsity=True)
    loss = toy.sparse_loss()
    distiller.compile("adam", loss, steps_per_execution=steps_per_execution)
    x, y = toy.vectors()
    distiller.fit(x, y, batch_size=4, epochs=2, verbose=0)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel) != 0, mask)
    assert np.all(keras.ops.convert_to_numpy(student.get_layer("head").kernel) != 0)
    assert distiller.get_config()["preserve_sparsity"]
