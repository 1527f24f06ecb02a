"""The parts of a training step that are written for PyTorch, where each operation runs at once."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import torch
from keras import tree

from keras_kd.training.step import StepModel
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

#: The dtype of hyperparameters.
FLOAT64 = "float64"
#: Whether data in other forms are read with `tf.data`.
READS_TF_DATA = False
#: Whether a step can be compiled; `torch.compile` does not see the hooks at the taps.
SUPPORTS_JIT = False
#: The kind of the errors of `finite_assertions`.
_BAD_BATCH = "bad_batch"


class FailedAssertionError(ValueError):
    """A condition of a step that does not hold.

    Args:
        message: The message for the user.
        kind: The kind of condition.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


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
    outputs, loss = compute()
    variables = model.trainable_variables
    scaled = model.optimizer.scale_loss(loss)
    require(loss)
    gradients = torch.autograd.grad(scaled, [v.value for v in variables], allow_unused=True)

    def apply(gradients: Sequence[Any]) -> None:
        model.optimizer.apply_gradients(zip(gradients, variables, strict=True))

    with torch.no_grad():
        if rule is None:
            apply(gradients)
        else:
            rule.update(gradients, variables, apply)
    return outputs, loss


def value_and_gradient(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    """Return the value of a function of one tensor, and the gradient of its sum."""
    x = keras.ops.convert_to_tensor(x).detach().requires_grad_()
    value = function(x)
    if not value.requires_grad:
        return value, torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(value.sum(), x, allow_unused=True)
    return value, torch.zeros_like(x) if gradient is None else gradient


def without_gradients() -> AbstractContextManager:
    """Run a block that needs no gradients."""
    return torch.no_grad()


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

    def run(x: Any) -> Any:
        with torch.no_grad():
            x = tree.map_structure(lambda part: keras.ops.convert_to_tensor(np.asarray(part)), x)
            outputs = function(x)
        return tree.map_structure(keras.ops.convert_to_numpy, outputs)

    return run, tree.map_structure(array_spec, run(example()))


def library_version() -> dict[str, str]:
    """Return the name and the version of the library behind Keras."""
    return {"torch": torch.__version__}


def after(assertions: Sequence[Any]) -> AbstractContextManager:
    """Run a block; a failed assertion has raised an error before."""
    return contextlib.nullcontext()


def require_before(assertions: Sequence[Any], values: Any) -> Any:
    """Return values; a failed assertion has raised an error before."""
    return values


def outside_graph() -> AbstractContextManager:
    """Run a block; there is no graph."""
    return contextlib.nullcontext()


def variables_in_place(model: keras.Model) -> AbstractContextManager:
    """Let the variables of a model hold its state for a block; here they always do."""
    return contextlib.nullcontext()


def raise_failed_assertions(model: keras.Model) -> None:
    """Report failed assertions; here each has stopped its own step."""


def check_on_bad_batch(owner: str, on_bad_batch: str) -> None:
    """Accept all that can be done with bad batches."""


def assertion(condition: Any, message: str, kind: str = "error") -> list[Any]:
    """Raise an error if a condition does not hold; the returned list is empty."""
    if not condition:
        raise FailedAssertionError(message, kind)
    return []


def finite_assertions(named: dict[str, Any], together: bool = False) -> list[Any]:
    """Raise an error if values are not finite; the returned list is empty."""
    named = {message: floating_parts(values) for message, values in named.items()}
    finite = {message: _all_finite(values) for message, values in named.items() if values}
    if finite:
        # One transfer from the device for all.
        for message, fine in zip(finite, torch.stack([*finite.values()]).tolist(), strict=True):
            assertion(fine, message, _BAD_BATCH)
    return []


def check_if_not_finite(loss: Any, named: Callable[[], dict[str, Any]]) -> list[Any]:
    """Raise an error if the loss and some values are not finite; the returned list is empty."""
    return [] if torch.isfinite(loss) else finite_assertions(named())


def is_bad_batch(error: Exception) -> bool:
    """Whether an error is one of `finite_assertions`."""
    return isinstance(error, FailedAssertionError) and error.kind == _BAD_BATCH


@contextlib.contextmanager
def readable_errors(position: Callable[[], str] | None = None) -> Iterator[None]:
    """Add the position to the message of a failed assertion, and omit what Keras adds to others.

    Raises:
        ValueError: If an assertion failed, or a function of the user raised one.
    """
    try:
        with unwrapped_errors(), readable_data_errors(position):
            yield
    except FailedAssertionError as error:
        where = "" if position is None else f" This was {position()}."
        raise ValueError(f"{error}{where}") from None


def floating_parts(structure: Any) -> list[Any]:
    """Return the tensors of floats in a structure."""
    found = [part for part in tree.flatten(structure) if isinstance(part, torch.Tensor)]
    return [part for part in found if part.is_floating_point()]


def _all_finite(values: Sequence[Any]) -> Any:
    return functools.reduce(torch.logical_and, [torch.isfinite(part).all() for part in values])
