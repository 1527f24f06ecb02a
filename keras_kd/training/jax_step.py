"""The parts of a training step that are written for JAX."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import keras
import numpy as np
from keras import tree

from keras_kd.models.graph import first_line
from keras_kd.models.keras_compat import get_mask, outside_stateless_scope, set_mask
from keras_kd.training.jax_model import StepModel
from keras_kd.training.jax_scope import Scope, current
from keras_kd.training.step_errors import unwrapped_errors
from keras_kd.training.tf_data import array_spec, readable_data_errors
from keras_kd.training.weight_rule import WeightRule

__all__ = [
    "FLOAT64",
    "READS_TF_DATA",
    "SUPPORTS_JIT",
    "StepModel",
    "after",
    "assertion",
    "check_if_not_finite",
    "check_on_bad_batch",
    "compile_teachers",
    "finite_assertions",
    "floating_parts",
    "gradient_step",
    "is_bad_batch",
    "library_version",
    "outside_graph",
    "raise_failed_assertions",
    "readable_errors",
    "require_before",
    "update_variables",
    "value_and_gradient",
    "variables_in_place",
    "without_gradients",
]

#: The errors of functions that need the values of arrays while JAX traces them.
_NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
#: The dtype of hyperparameters; JAX has no float64 by default, and Keras does not compute in it.
FLOAT64 = "float32"
#: Whether data in other forms are read with `tf.data`.
READS_TF_DATA = False
#: Whether a step can be compiled.
SUPPORTS_JIT = True


def gradient_step(
    model: keras.Model,
    inputs: Any,
    forward: Callable[[Any, Callable[[Any], Any]], tuple[Any, Any]],
    require: Callable[[Any], Sequence[Any]] = lambda loss: (),
) -> tuple[Any, Any]:
    """Run one forward pass, one backward pass and one update of the optimizer."""
    compute = functools.partial(forward, inputs, lambda outputs: outputs)
    return update_variables(model, compute, require, model.weight_rule)


def update_variables(
    model: Any,
    compute: Callable[[], tuple[Any, Any]],
    require: Callable[[Any], Sequence[Any]] = lambda loss: (),
    rule: WeightRule | None = None,
) -> tuple[Any, Any]:
    """Compute a loss and its gradients, and update the variables, which may obey a rule."""
    scope, optimizer, trainable = current.scope, model.optimizer, model.trainable_variables
    trained = {id(variable) for variable in trainable}
    others = [variable for key, variable in scope.variables.items() if key not in trained]

    def scaled_loss(values: list[Any]) -> tuple[Any, tuple]:
        pairs = [
            *zip(others, scope.values(others), strict=True),
            *zip(trainable, values, strict=True),
        ]
        with Scope(pairs) as inner:
            outputs, loss = compute()
            scaled = optimizer.scale_loss(loss)
        inner.require_unchanged()
        masks = [get_mask(part) for part in tree.flatten(outputs)]
        return scaled, (outputs, loss, masks, inner.changed(others), inner.checks)

    differentiate = jax.grad(scaled_loss, has_aux=True)
    gradients, (outputs, loss, masks, updates, checks) = differentiate(scope.values(trainable))
    for part, mask in zip(tree.flatten(outputs), masks, strict=True):
        if mask is not None:
            set_mask(part, mask)
    for i, value in updates.items():
        others[i].assign(value)
    scope.checks.update(checks)
    require(loss)

    apply = functools.partial(_apply_gradients, scope, optimizer, trainable)
    if rule is None:
        apply(gradients)
    else:
        rule.update(gradients, trainable, apply)
    return outputs, loss


def _apply_gradients(
    scope: Any,
    optimizer: keras.optimizers.Optimizer,
    trainable: Sequence[keras.Variable],
    gradients: Sequence[Any],
) -> None:
    """Update the variables and the state of the optimizer in the scope of a step."""
    values = scope.values(trainable), scope.values(optimizer.variables)
    after = optimizer.stateless_apply(values[1], list(gradients), values[0])
    for group, new in zip((trainable, optimizer.variables), after, strict=True):
        for variable, value in zip(group, new, strict=True):
            variable.assign(value)


def value_and_gradient(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    """Return the value of a function of one tensor, and the gradient of its sum."""

    def summed(x: Any) -> tuple[Any, Any]:
        value = function(x)
        return value.sum(), value

    gradient, value = jax.grad(summed, has_aux=True)(jax.numpy.asarray(x))
    return value, gradient


def without_gradients() -> AbstractContextManager:
    """Run a block; a step differentiates one function only."""
    return contextlib.nullcontext()


def compile_teachers(
    function: Callable[[Any], Any], inputs: Any, example: Callable[[], Any]
) -> tuple[Callable[[Any], Any], Any]:
    """Prepare a function of a batch that runs teachers outside of any training.

    Args:
        function: Maps a batch to a structure of tensors.
        inputs: Specification of a batch; not used.
        example: Returns a batch, from which the shapes are known.

    Returns:
        The function, which returns NumPy arrays, and the structure of their `DenseSpec`s.
    """
    compiled = jax.jit(function)

    def run(x: Any) -> Any:
        return tree.map_structure(np.asarray, compiled(tree.map_structure(np.asarray, x)))

    return run, tree.map_structure(array_spec, run(example()))


def library_version() -> dict[str, str]:
    """Return the name and the version of the library behind Keras."""
    return {"jax": jax.__version__}


def after(assertions: Sequence[Any]) -> AbstractContextManager:
    """Run a block; JAX reports failed assertions after the step."""
    return contextlib.nullcontext()


def require_before(assertions: Sequence[Any], values: Any) -> Any:
    """Return values; JAX reports failed assertions after the step."""
    return values


@contextlib.contextmanager
def outside_graph() -> Iterator[None]:
    """Run a block once, when the step is traced, with the values that variables have outside."""
    with outside_stateless_scope(), jax.ensure_compile_time_eval():
        yield


def variables_in_place(model: StepModel) -> AbstractContextManager:
    """Let the variables of a model hold its state for a block within `fit`."""
    return model.state_in_variables()


def raise_failed_assertions(model: StepModel) -> None:
    """Report the steps so far of a `fit` in which an assertion failed.

    Raises:
        ValueError: If one did.
    """
    model.train_function.raise_failed()


def check_on_bad_batch(owner: str, on_bad_batch: str) -> None:
    """Reject `"skip"`.

    Raises:
        ValueError: If bad batches are to be skipped.
    """
    if on_bad_batch == "skip":
        raise ValueError(
            f"{owner}: on the JAX backend a compiled step cannot be undone, so bad batches cannot "
            "be skipped. Remove them from the data, or set KERAS_BACKEND=tensorflow. "
            "Received: on_bad_batch='skip'"
        )


def assertion(condition: Any, message: str, kind: str = "error") -> list[Any]:
    """Note a condition that must hold; the returned list is empty."""
    if current.scope is not None:
        checks = current.scope.checks
        checks[message] = condition & checks[message] if message in checks else condition
    return []


def finite_assertions(named: dict[str, Any], together: bool = False) -> list[Any]:
    """Note that values must be finite; the returned list is empty."""
    for message, structure in named.items():
        if values := floating_parts(structure):
            assertion(_all_finite(values), message)
    return []


def check_if_not_finite(loss: Any, named: Callable[[], dict[str, Any]]) -> list[Any]:
    """Note that values must be finite if the loss is not; the returned list is empty."""
    for message, structure in named().items():
        if values := floating_parts(structure):
            # No `cond`: on a GPU it would wait for the loss.
            assertion(jax.numpy.isfinite(loss) | _all_finite(values), message)
    return []


def is_bad_batch(error: Exception) -> bool:
    """Whether an error says that a batch is bad: no step of JAX raises one."""
    return False


@contextlib.contextmanager
def readable_errors(position: Callable[[], str] | None = None) -> Iterator[None]:
    """Raise the errors of a block without what `tf.data`, Keras and JAX add to their messages.

    Raises:
        ValueError: If the step, or a function of the user in it, raised one.
        TypeError: If such a function needs the values of a batch, which a compiled step has not.
    """
    try:
        with unwrapped_errors(), readable_data_errors(position):
            yield
    except _NEEDS_VALUES as error:
        raise TypeError(
            "A step of the JAX backend is compiled, so the functions in it (`augment`, losses, "
            "metrics, layers) must compute with keras.ops, without NumPy and without an `if` on "
            f"values. The cause: {first_line(error)}"
        ) from error


def floating_parts(structure: Any) -> list[Any]:
    """Return the arrays of floats in a structure."""
    arrays = (jax.Array, np.ndarray)  # A step that is not compiled gets the arrays of the data.
    found = [part for part in tree.flatten(structure) if isinstance(part, arrays)]
    return [part for part in found if jax.numpy.issubdtype(part.dtype, jax.numpy.floating)]


def _all_finite(values: Sequence[Any]) -> Any:
    finite = [jax.numpy.isfinite(part).all() for part in values]
    return functools.reduce(jax.numpy.logical_and, finite)
