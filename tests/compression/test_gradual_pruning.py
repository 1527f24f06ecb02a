"""Masks are updated at the steps, and to the sparsities, of tensorflow-model-optimization."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.gradual_pruning import GradualPruning, PruningSchedule
from keras_kd.compression.kernels import list_kernels
from keras_kd.compression.sparsity_pattern import as_pattern
from keras_kd.compression.tfmot.imports import import_tfmot
from keras_kd.training.weight_rule import zero_fraction


@pytest.mark.parametrize("steps", [2, 9, 57, 1234])
def test_the_sparsity_is_that_of_tfmot(steps):
    schedule = PruningSchedule.over(0.8, steps)
    expected = import_tfmot().sparsity.keras.PolynomialDecay(
        0.0, 0.8, 0, schedule.end, frequency=schedule.frequency
    )
    for step in {1, 2, schedule.frequency, steps // 2, schedule.end, steps + 1} - {0}:
        due, sparsity = expected(step)
        assert bool(due) == bool(schedule.is_due(keras.ops.convert_to_tensor(step))), step
        if step <= schedule.end:
            assert float(schedule.sparsity(step)) == pytest.approx(float(sparsity), abs=1e-6)


def test_without_a_target_all_is_pruned_before_the_first_step():
    assert PruningSchedule.over(None, 100) == PruningSchedule(0.0, 1, 1)
    assert PruningSchedule.over(0.5, 1) == PruningSchedule(0.5, 1, 1)


def rule(schedule, zeros=()):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, use_bias=False)])
    (kernel,) = list_kernels(model)[0].kernels
    value = np.arange(1.0, 21.0).reshape(5, 4)
    value.flat[list(zeros)] = 0
    kernel.variable.assign(value)
    return GradualPruning([kernel], as_pattern(0.5, (1, 1), "avg"), schedule), kernel.variable


def test_the_zeros_grow_at_the_updates_and_stay_between_them():
    pruning, kernel = rule(PruningSchedule(0.5, 2, 6))
    pruning.start()
    fractions = []
    for _ in range(7):
        fractions.append(zero_fraction([kernel.numpy()]))
        assert pruning.done == (len(fractions) >= 6)
        pruning.update([], [kernel], lambda gradients: kernel.assign(kernel + 0.1))
    expected = [float(PruningSchedule(0.5, 2, 6).sparsity(step)) for step in (2, 4, 6)]
    rounded = [round(20 * value) / 20 for value in expected]
    assert fractions == [0.0, *np.repeat(rounded, 2).tolist()]


def test_weights_that_are_zero_at_first_are_trained_before_the_first_update():
    pruning, kernel = rule(PruningSchedule(0.5, 4, 8), zeros=range(5))
    pruning.start()
    pruning.update([], [kernel], lambda gradients: kernel.assign(kernel + 0.1))
    assert zero_fraction([kernel.numpy()]) == 0


def test_a_schedule_of_one_step_prunes_at_the_start():
    pruning, kernel = rule(PruningSchedule.over(0.5, 1))
    pruning.start()
    np.testing.assert_array_equal(kernel.numpy().ravel() == 0, np.arange(20) < 10)
    assert pruning.done


def test_the_kernels_are_no_weights_of_the_rule():
    pruning, _ = rule(PruningSchedule.over(0.5, 1))
    assert [weight.path for weight in pruning.weights] == ["gradual_pruning/steps"]
