"""One forward pass, one backward pass and one update on JAX."""
# ruff: noqa: E402

import keras
import numpy as np
import pytest
from keras import ops

jax = pytest.importorskip("jax")
if keras.config.backend() != "jax":
    pytest.skip("the step of JAX", allow_module_level=True)

from keras_kd.models.keras_compat import get_mask, set_mask
from keras_kd.training import jax_step
from keras_kd.training.jax_scope import Scope
from tests import toy


def state(model, *others):
    """All variables of a model and their values."""
    variables = [*model.variables, *model.optimizer.variables, *others]
    return list({id(v): (v, v.value) for v in variables}.values())


def scaled_adam():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), initial_scale=8.0)


@pytest.mark.parametrize("optimizer", [lambda: keras.optimizers.Adam(0.1), scaled_adam])
def test_a_gradient_step_equals_a_step_of_keras(optimizer):
    (x, y), weights = toy.vectors(8), []
    for own in (True, False):
        model = toy.mlp("model")
        model.compile(optimizer(), toy.sparse_loss())
        model.optimizer.build(model.trainable_variables)
        model.weight_rule = None
        if not own:
            model.train_on_batch(x, y)
        else:
            with Scope(state(model)) as scope:
                outputs, loss = jax_step.gradient_step(
                    model,
                    x,
                    lambda x, cut, model=model: (
                        outputs := cut(model(x, training=True)),
                        toy.sparse_loss()(y, outputs),
                    ),
                )
            assert outputs.shape == (8, 4)
            assert np.isfinite(loss)
            for variable, _ in state(model):
                variable.assign(scope.get_current_value(variable))
        weights.append([*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class Pair(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.used, self.unused = (self.add_weight(initializer="ones") for _ in range(2))
        self.optimizer = keras.optimizers.SGD(0.5)
        self.optimizer.build([self.used, self.unused])


def test_a_variable_without_a_gradient_is_not_updated():
    pair = Pair()
    with Scope(state(pair)) as scope:
        outputs, loss = jax_step.update_variables(pair, lambda: (ops.ones(2), 2.0 * pair.used))
    assert float(loss) == 2.0
    assert [float(v) for v in scope.values([pair.used, pair.unused])] == [0.0, 1.0]
    np.testing.assert_array_equal(outputs, [1.0, 1.0])


def test_outputs_keep_their_masks_and_assertions_leave_the_inner_scope():
    pair, mask = Pair(), np.array([True, False])

    def compute():
        jax_step.assertion(pair.used < 1, "too large")
        return set_mask(pair.used * ops.ones(2), ops.convert_to_tensor(mask)), 2.0 * pair.used

    with Scope(state(pair)) as scope:
        outputs, _ = jax.jit(lambda: jax_step.update_variables(pair, compute))()
    with Scope(state(pair)) as scope:
        outputs, _ = jax_step.update_variables(pair, compute)
    np.testing.assert_array_equal(get_mask(outputs), mask)
    assert {message: bool(fine) for message, fine in scope.checks.items()} == {"too large": False}


def test_assertions_of_the_same_message_must_all_hold():
    with Scope([]) as scope:
        for value in (1.0, np.nan, 2.0):
            found = jax_step.finite_assertions({"bad": [ops.convert_to_tensor(value), "text", 1]})
            assert found == []
    assert not scope.checks["bad"]


@pytest.mark.parametrize("loss", [1.0, np.nan])
@pytest.mark.parametrize("value", [1.0, np.inf])
def test_values_count_only_if_the_loss_is_not_finite(loss, value):
    with Scope([]) as scope:
        jax_step.check_if_not_finite(loss, lambda: {"bad": np.array([value])})
    assert bool(scope.checks["bad"]) == (loss == 1.0 or value == 1.0)


def test_arrays_of_floats_are_found_in_any_structure():
    parts = {"a": np.zeros(2, "float32"), "b": [ops.zeros(2, "bfloat16"), ops.zeros(2, "int32")]}
    assert [part.dtype.name for part in jax_step.floating_parts(parts)] == ["float32", "bfloat16"]
    assert jax_step.floating_parts({"c": None, "d": "text", "e": np.array(["text"])}) == []


def test_without_a_step_an_assertion_is_not_noted():
    assert jax_step.assertion(False, "nobody sees it") == []
    assert not jax_step.is_bad_batch(ValueError())
