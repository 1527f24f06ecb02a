"""Rules that weights obey after each step, such as that zeros stay zero."""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops


class WeightRule(Protocol):
    """What a step does with some weights around the update by the optimizer.

    A rule with variables of its own is a `keras.layers.Layer`, so that the model tracks them.
    """

    def update(
        self,
        gradients: Sequence[Any],
        variables: Sequence[keras.Variable],
        apply: Callable[[Sequence[Any]], None],
    ) -> None:
        """Run one update.

        Args:
            gradients: The gradient of each variable, or `None`.
            variables: The variables that the optimizer changes.
            apply: Runs the optimizer on gradients, which are in the order of the variables.
        """


class KeepZeros:
    """Keeps the zeros of pruned weights: a weight that is zero before an update is zero after it.

    Nothing is stored: the zeros are the mask.

    Args:
        variables: The weights.
    """

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        self._variables = tuple(variables)

    def __eq__(self, other: Any) -> bool:
        """Return whether another rule keeps the zeros of the same weights."""
        same = isinstance(other, KeepZeros) and len(self._variables) == len(other._variables)
        return same and all(map(operator.is_, self._variables, other._variables))

    __hash__ = None

    def update(
        self,
        gradients: Sequence[Any],
        variables: Sequence[keras.Variable],
        apply: Callable[[Sequence[Any]], None],
    ) -> None:
        """Run one update; see `WeightRule`."""
        kept = [nonzero(variable) for variable in self._variables]
        apply(gradients)
        for variable, mask in zip(self._variables, kept, strict=True):
            mask_variable(variable, mask)


def nonzero(variable: keras.Variable) -> Any:
    """Return where a variable is not zero, as a tensor of its own."""
    return ops.not_equal(ops.convert_to_tensor(variable), 0)


def mask_variable(variable: keras.Variable, mask: Any) -> None:
    """Set a variable to zero outside a mask."""
    variable.assign(ops.where(mask, ops.convert_to_tensor(variable), ops.zeros((), variable.dtype)))


def pruned_variables(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Return the trainable matrices (or tensors of a higher rank) that have been pruned.

    These are those with at least 10 % zeros, which training alone does not make. Only zeros are the
    initial weights of some layers, so such a variable is not among them.
    """
    found = [v for v in variables if v.trainable and len(v.shape) > 1]
    return [v for v in found if 0.1 <= zero_fraction([ops.convert_to_numpy(v)]) < 1]


def zero_fraction(kernels: Iterable[np.ndarray]) -> float:
    """Return the fraction of zeros in kernels, 0 if there are no kernels."""
    kernels = list(kernels)
    return sum(int((k == 0).sum()) for k in kernels) / max(1, sum(k.size for k in kernels))
