"""The parts of a training step that are written for TensorFlow."""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.training.distribution import (
    VariableSnapshot,
    check_strategy,
    fill_empty_replica,
    get_strategy,
    global_mean,
    is_built_in_scope,
    least_over_workers,
    per_replica,
    replica_id,
    replica_share,
    replicas,
    stack_logs,
    strategy_scope,
    synchronize_statistics,
    worker_index,
    worker_shard,
)
from keras_kd.training.graph_errors import error_kind, marked, readable_errors
from keras_kd.training.step import StepModel
from keras_kd.training.tf_data import DenseSpec
from keras_kd.training.weight_rule import WeightRule

__all__ = [
    "FLOAT64",
    "READS_TF_DATA",
    "SUPPORTS_JIT",
    "StepModel",
    "VariableSnapshot",
    "after",
    "assertion",
    "check_if_not_finite",
    "check_on_bad_batch",
    "check_strategy",
    "compile_teachers",
    "fill_empty_replica",
    "finite_assertions",
    "floating_parts",
    "get_strategy",
    "global_mean",
    "gradient_step",
    "is_bad_batch",
    "is_built_in_scope",
    "least_over_workers",
    "library_version",
    "marked",
    "outside_graph",
    "per_replica",
    "raise_failed_assertions",
    "readable_errors",
    "replica_id",
    "replica_share",
    "replicas",
    "require_before",
    "stack_logs",
    "strategy_scope",
    "synchronize_statistics",
    "update_variables",
    "value_and_gradient",
    "variables_in_place",
    "without_gradients",
    "worker_index",
    "worker_shard",
]

#: The dtype of hyperparameters.
FLOAT64 = "float64"
#: Whether data in other forms are read with `tf.data`.
READS_TF_DATA = True
#: Whether a step can be compiled.
SUPPORTS_JIT = True
#: The kind of the errors of `finite_assertions`.
_BAD_BATCH = "bad_batch"


def gradient_step(
    model: keras.Model,
    inputs: Any,
    forward: Callable[[Any, Callable[[Any], Any]], tuple[Any, Any]],
    require: Callable[[Any], Sequence[Any]] = lambda loss: (),
) -> tuple[Any, Any]:
    """Run one forward pass, one backward pass and one update of the optimizer."""
    inputs, cut = fill_empty_replica(inputs)
    return update_variables(model, lambda: forward(inputs, cut), require, model.weight_rule)


def update_variables(
    model: Any,
    compute: Callable[[], tuple[Any, Any]],
    require: Callable[[Any], Sequence[Any]] = lambda loss: (),
    rule: WeightRule | None = None,
) -> tuple[Any, Any]:
    """Compute a loss and its gradients, and update the variables, which may obey a rule."""
    with tf.GradientTape() as tape:
        outputs, loss = compute()
        scaled = model.optimizer.scale_loss(loss)
    variables = model.trainable_variables
    gradients = tape.gradient(scaled, variables)
    assertions = list(require(loss))
    with tf.control_dependencies(assertions):
        gradients = [None if g is None else tf.identity(g) for g in gradients]

    def apply(gradients: Sequence[Any]) -> None:
        model.optimizer.apply_gradients(zip(gradients, variables, strict=True))

    if rule is None:
        apply(gradients)
    else:
        with tf.control_dependencies(assertions):
            rule.update(gradients, variables, apply)
    return outputs, loss


def value_and_gradient(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    """Return the value of a function of one tensor, and the gradient of its sum."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return value, tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def without_gradients() -> AbstractContextManager:
    """Run a block; it is outside the gradient tape."""
    return contextlib.nullcontext()


def compile_teachers(
    function: Callable[[Any], Any], inputs: Any, example: Callable[[], Any] | None = None
) -> tuple[Callable[[Any], Any], Any]:
    """Compile a function of a batch that runs teachers outside of any training.

    Args:
        function: Maps a batch to a structure of tensors.
        inputs: Specification of a batch.
        example: Not used: the shapes are known without a run.

    Returns:
        The function, which returns NumPy arrays, and the structure of their `DenseSpec`s.
    """
    signature = tree.map_structure(_tensor_spec, inputs)
    compiled = tf.function(function, input_signature=[signature], autograph=False)
    outputs = compiled.get_concrete_function().structured_outputs
    specs = tree.map_structure(lambda o: DenseSpec(tuple(o.shape), o.dtype.name), outputs)
    return lambda x: tree.map_structure(lambda value: value.numpy(), compiled(x)), specs


def library_version() -> dict[str, str]:
    """Return the name and the version of the library behind Keras."""
    return {"tensorflow": tf.__version__}  # Its metadata may be those of tensorflow-cpu.


def after(assertions: Sequence[Any]) -> AbstractContextManager:
    """Run the operations of a block only if the assertions hold."""
    return tf.control_dependencies(list(assertions))


def require_before(assertions: Sequence[Any], values: Any) -> Any:
    """Return values, any structure of tensors, that exist only if the assertions hold."""
    with tf.control_dependencies(list(assertions)):
        return tree.map_structure(tf.identity, values)


def outside_graph() -> AbstractContextManager:
    """Run a block once, when the step is traced, outside its graph."""
    return tf.init_scope()


def variables_in_place(model: keras.Model) -> AbstractContextManager:
    """Let the variables of a model hold its state for a block; here they always do."""
    return contextlib.nullcontext()


def raise_failed_assertions(model: keras.Model) -> None:
    """Report failed assertions; here each has stopped its own step."""


def check_on_bad_batch(owner: str, on_bad_batch: str) -> None:
    """Accept all that can be done with bad batches."""


def assertion(condition: Any, message: str, kind: str = "error") -> list[Any]:
    """Return the assertion that a condition holds, in a list that is empty in an eager step."""
    checked = tf.debugging.Assert(condition, [marked(message, kind)])
    return [] if checked is None else [checked]


def finite_assertions(named: dict[str, Any], together: bool = False) -> list[Any]:
    """Return assertions that values are finite; later operations take them as dependencies."""
    named = {message: floating_parts(values) for message, values in named.items()}
    named = {message: values for message, values in named.items() if values}
    finite = [_all_finite(values) for values in named.values()]
    if together and replicas() > 1 and finite:
        bad = tf.stack([tf.cast(~one, tf.float32) for one in finite])
        bad = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, bad)
        finite = tf.unstack(bad == 0)
    found = zip(finite, named, strict=True)
    return [op for condition, message in found for op in assertion(condition, message, _BAD_BATCH)]


def check_if_not_finite(loss: Any, named: Callable[[], dict[str, Any]]) -> list[Any]:
    """Return assertions that values are finite, which are checked if the loss is not."""

    def check() -> Any:
        finite_assertions(named())
        return tf.constant(True)

    return [tf.cond(tf.math.is_finite(loss), lambda: tf.constant(True), check)]


def is_bad_batch(error: Exception) -> bool:
    """Whether an error of the graph is the failure of one of the `finite_assertions`."""
    failed = isinstance(error, tf.errors.InvalidArgumentError)
    return failed and error_kind(error) == _BAD_BATCH


def floating_parts(structure: Any) -> list[Any]:
    """Return the tensors of floats in a structure."""
    found = [part for part in tree.flatten(structure) if tf.is_tensor(part)]
    found = [part.values if isinstance(part, tf.SparseTensor) else part for part in found]
    found = [part.flat_values if isinstance(part, tf.RaggedTensor) else part for part in found]
    return [part for part in found if part.dtype.is_floating]


def _tensor_spec(spec: Any) -> tf.TensorSpec:
    return tf.TensorSpec(spec.shape, spec.dtype)


def _all_finite(values: list[Any]) -> Any:
    finite = [tf.reduce_all(tf.math.is_finite(part)) for part in values]
    return finite[0] if len(finite) == 1 else tf.reduce_all(tf.stack(finite))
