"""One forward pass, one backward pass and one update."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_kd as kd
from keras_kd.training.tensorflow_step import (
    after,
    check_if_not_finite,
    finite_assertions,
    gradient_step,
    is_bad_batch,
    outside_graph,
    require_before,
    update_variables,
)
from tests import toy


def failed(message="failed"):
    return tf.debugging.Assert(tf.constant(False), [message])


def forward_of(model, y):
    def forward(inputs, cut):
        outputs = cut(model(inputs, training=True))
        return outputs, toy.sparse_loss()(y, outputs)

    return forward


def normalized():
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(8, activation="relu")
    norm = keras.layers.BatchNormalization(name="norm")
    return keras.Sequential([keras.Input((5,)), hidden, norm, keras.layers.Dense(4)])


@pytest.mark.slow
def test_xla_gives_the_weights_and_the_statistics_of_batch_normalization():
    x, y = toy.vectors(21)  # XLA compiles the step again for the last batch of 5.
    weights, histories = [], []
    for jit in (False, True):
        losses = [kd.losses.SoftTargets(), kd.losses.Hint("hidden", "norm")]
        model = kd.Distiller(normalized(), toy.mlp("teacher", seed=1), losses)
        optimizer = keras.optimizers.Adam(0.01)
        model.compile(optimizer, toy.sparse_loss(), metrics=["accuracy"], jit_compile=jit)
        fit = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0}
        histories.append(model.fit(x, y, **fit).history)
        assert model.jit_compile is jit
        weights.append(model.get_weights())
    norm = model.student.get_layer("norm")
    assert np.abs(norm.moving_mean).max() > 0.01
    assert np.abs(norm.moving_variance - 1).max() > 0.01
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4, atol=1e-5)


def scaled_adam():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), initial_scale=8.0)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [lambda: keras.optimizers.Adam(0.1), scaled_adam])
def test_a_gradient_step_equals_a_step_with_a_gradient_tape(optimizer):
    (x, y), weights = toy.vectors(8), []
    for by_hand in (True, False):
        model = toy.mlp("model")
        model.optimizer, model.weight_rule = optimizer(), None
        model.optimizer.build(model.trainable_variables)

        @tf.function
        def step(model=model, by_hand=by_hand):
            forward = forward_of(model, y)
            if not by_hand:
                return gradient_step(model, tf.constant(x), forward)
            with tf.GradientTape() as tape:
                outputs, loss = forward(x, lambda value: value)
                scaled = model.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, model.trainable_variables)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return outputs, loss

        outputs, loss = [step() for _ in range(2)][-1]
        weights.append([outputs, loss, *model.get_weights()])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_failed_requirement_prevents_the_update():
    (x, y), model = toy.vectors(8), toy.mlp("model")
    model.optimizer, model.weight_rule = keras.optimizers.SGD(0.1), None
    model.optimizer.build(model.trainable_variables)
    before, seen = model.get_weights(), []

    def require(loss):
        seen.append(loss.shape)
        return [failed()]

    @tf.function
    def step():
        return gradient_step(model, tf.constant(x), forward_of(model, y), require)

    with pytest.raises(tf.errors.InvalidArgumentError, match="failed"):
        step()
    assert seen == [()]
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_variable_without_a_gradient_is_not_updated():
    class Pair(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.used, self.unused = (self.add_weight(initializer="ones") for _ in range(2))
            self.optimizer = keras.optimizers.SGD(0.5)

    pair = Pair()
    outputs, loss = update_variables(pair, lambda: ("outputs", 2.0 * pair.used))
    assert (outputs, float(loss)) == ("outputs", 2.0)
    assert [float(variable) for variable in (pair.used, pair.unused)] == [0.0, 1.0]


def test_operations_after_a_failed_assertion_do_not_run():
    variable = tf.Variable(1.0)

    @tf.function
    def assign():
        with after([failed("before")]):
            variable.assign(2.0)

    with pytest.raises(tf.errors.InvalidArgumentError, match="before"):
        assign()
    assert float(variable) == 1.0


def test_required_values_do_not_exist_if_an_assertion_fails():
    @tf.function
    def values(fine):
        assertion = tf.debugging.Assert(fine, ["required"])
        return require_before([assertion], {"a": tf.constant(1.0), "b": [tf.constant(2.0)]})

    assert [float(value) for value in tf.nest.flatten(values(True))] == [1.0, 2.0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="required"):
        values(False)


def test_a_block_outside_the_graph_runs_once_and_eagerly():
    eager = []

    @tf.function
    def step(x):
        with outside_graph():
            eager.append(tf.executing_eagerly())
        return x

    step(tf.constant(1.0))
    step(tf.constant(2.0))
    assert eager == [True]


@pytest.mark.parametrize("eager", [False, True])
def test_values_are_checked_only_if_the_loss_is_not_finite(eager):
    @tf.function
    def check(loss, value):
        return check_if_not_finite(loss, lambda: {"A teacher gave NaN.": value})

    tf.config.run_functions_eagerly(eager)
    try:
        check(ops.convert_to_tensor(1.0), ops.convert_to_tensor(np.nan))
        check(ops.convert_to_tensor(np.nan), ops.convert_to_tensor(1.0))
        with pytest.raises(tf.errors.InvalidArgumentError, match="A teacher gave NaN"):
            check(ops.convert_to_tensor(np.nan), ops.convert_to_tensor(np.nan))
    finally:
        tf.config.run_functions_eagerly(False)


@tf.function
def check(named):
    with tf.control_dependencies(finite_assertions(named)):
        return tf.constant(True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", [check, finite_assertions], ids=["graph", "eager"])
def test_the_message_of_the_values_that_are_not_finite_is_raised(function, bad):
    named = {
        "one": {"a": tf.constant([1.0]), "b": [tf.constant([2], "int32"), None]},
        "two": tf.constant([[1.0, bad]]),
    }
    with pytest.raises(tf.errors.InvalidArgumentError, match="two"):
        function(named)


def test_finite_values_pass_and_other_types_are_not_checked():
    assert check({"one": tf.constant([1.0, 2.0])})
    assert finite_assertions({"text": tf.constant(["nan"]), "numbers": tf.constant(3)}) == []


@pytest.mark.parametrize(
    "value",
    [
        tf.sparse.from_dense([[0.0, np.nan]]),
        tf.RaggedTensor.from_row_splits([1.0, np.inf], [0, 0, 2]),
    ],
    ids=["sparse", "ragged"],
)
def test_the_values_of_composite_tensors_are_checked(value):
    with pytest.raises(tf.errors.InvalidArgumentError, match="composite"):
        finite_assertions({"composite": value})


def test_only_a_failed_assertion_is_a_bad_batch():
    with pytest.raises(tf.errors.InvalidArgumentError) as bad:
        check({"A batch is bad.": tf.constant([np.nan])})
    assert is_bad_batch(bad.value)
    with pytest.raises(tf.errors.InvalidArgumentError) as other:
        tf.reshape(tf.zeros(3), (2, 2))
    assert not is_bad_batch(other.value)
    assert not is_bad_batch(ValueError(str(bad.value)))
