"""Pruning schedules, wrappers, and masks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers

from keras_kd.compression.tfmot.convert import convert_student
from keras_kd.compression.tfmot.imports import import_tfmot
from keras_kd.compression.tfmot.pruning import (
    get_custom_prunable_weights,
    is_schedule,
    make_schedule,
    wrap_for_pruning,
)
from tests.compression import models


def sparsity_at(schedule, step):
    prunes, sparsity = schedule(tf.constant(step, tf.int64))
    return bool(prunes), float(sparsity)


def test_the_sparsity_grows_to_the_target_at_the_last_step():
    schedule = make_schedule(0.8, steps=25, calls=1)
    # Every second step, up to the last even one.
    assert sparsity_at(schedule, 1)[0] is False
    assert sparsity_at(schedule, 12) == (True, pytest.approx(0.7))
    assert sparsity_at(schedule, 24) == (True, pytest.approx(0.8))


def test_a_layer_that_is_called_twice_counts_each_step_twice():
    schedule = make_schedule(0.8, steps=25, calls=2)
    assert sparsity_at(schedule, 24)[1] < 0.8
    assert sparsity_at(schedule, 50) == (True, pytest.approx(0.8))


@pytest.mark.parametrize(("sparsity", "expected"), [(0.6, 0.6), (0.0, 0.0), (None, 0.5)])
def test_a_single_step_prunes_at_once(sparsity, expected):
    schedule = make_schedule(sparsity, steps=1, calls=1)
    assert sparsity_at(schedule, 1) == (True, pytest.approx(expected))


def test_schedules_of_tfmot_are_recognized():
    assert is_schedule(import_tfmot().sparsity.keras.ConstantSparsity(0.5, 0))
    assert not is_schedule(0.5)


def test_masks_set_changed_weights_to_zero_again():
    model = models.of(layers.Dense(5, name="dense"), (4,))
    schedules = []

    def schedule(calls):
        schedules.append(calls)
        return make_schedule(0.5, 1, calls)

    pruned = wrap_for_pruning(convert_student(model, None), ["dense"], {}, schedule)
    assert schedules == [1]
    ((_, mask, _),) = pruned.wrappers[0].pruning_vars
    mask.assign(np.tile([0.0, 1.0, 1.0, 1.0, 0.0], (4, 1)))
    pruned.apply_masks()
    expected = model.get_layer("dense").kernel * np.array([0, 1, 1, 1, 0])
    (kernel,) = pruned.weights
    np.testing.assert_array_equal(kernel, expected)
    stripped = pruned.strip()
    assert type(stripped.get_layer("dense")).__name__ == "Dense"
    np.testing.assert_array_equal(stripped.get_layer("dense").kernel, expected)


def test_custom_layers_declare_their_prunable_weights():
    class Prunable(tf_keras.layers.Dense, import_tfmot().sparsity.keras.PrunableLayer):
        def get_prunable_weights(self):
            return [self.bias]

    layer = Prunable(3, name="own")
    layer.build((None, 4))
    assert get_custom_prunable_weights(layer) == {layer.bias.name: layer.bias}
    assert get_custom_prunable_weights(tf_keras.layers.Dense(3)) is None
    assert get_custom_prunable_weights(keras.layers.Dense(3)) is None
