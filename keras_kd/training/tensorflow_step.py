"""The parts of a training step that are written for TensorFlow."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.training.distribution import fill_empty_replica
from keras_kd.training.finite_checks import finite_assertions
from keras_kd.training.graph_errors import marked


def gradient_step(
    model: keras.Model,
    inputs: Any,
    forward: Callable[[Any, Callable[[Any], Any]], tuple[Any, Any]],
    require: Callable[[Any], Sequence[Any]] = lambda loss: (),
) -> tuple[Any, Any]:
    """Run one forward pass, one backward pass and one update of the optimizer."""
    inputs, cut = fill_empty_replica(inputs)
    return update_variables(model, lambda: forward(inputs, cut), require)


def update_variables(
    model: Any,
    compute: Callable[[], tuple[Any, Any]],
    require: Callable[[Any], Sequence[Any]] = lambda loss: (),
) -> tuple[Any, Any]:
    """Compute a loss and its gradients, and update the variables."""
    with tf.GradientTape() as tape:
        outputs, loss = compute()
        scaled = model.optimizer.scale_loss(loss)
    variables = model.trainable_variables
    gradients = tape.gradient(scaled, variables)
    with tf.control_dependencies(list(require(loss))):
        gradients = [None if g is None else tf.identity(g) for g in gradients]
    model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return outputs, loss


def after(assertions: Sequence[Any]) -> AbstractContextManager:
    """Run the operations of a block only if the assertions hold."""
    return tf.control_dependencies(list(assertions))


def require_before(assertions: Sequence[Any], values: Any) -> Any:
    """Return values, any structure of tensors, that exist only if the assertions hold."""
    with tf.control_dependencies(list(assertions)):
        return tree.map_structure(tf.identity, values)


def assertion(condition: Any, message: str, kind: str = "error") -> list[Any]:
    """Return the assertion that a condition holds, in a list that is empty in an eager step."""
    checked = tf.debugging.Assert(condition, [marked(message, kind)])
    return [] if checked is None else [checked]


def outside_graph() -> AbstractContextManager:
    """Run a block once, when the step is traced, outside its graph."""
    return tf.init_scope()


def check_if_not_finite(loss: Any, named: Callable[[], dict[str, Any]]) -> Any:
    """Return an operation that checks values only if the loss is NaN or infinite."""

    def check() -> Any:
        finite_assertions(named())
        return tf.constant(True)

    return tf.cond(tf.math.is_finite(loss), lambda: tf.constant(True), check)
