"""The scalars that a callback may change while training: temperature, loss weights, noise.

Each is a variable, so that a compiled training step sees the change, and each is checked where a
value enters, so that a schedule cannot set a temperature of zero either.
"""

import math
from typing import Any

import keras


class Scalar(keras.Variable):
    """A variable of one number that `float` also reads where it is mirrored on devices."""

    def __float__(self) -> float:
        """The number, as the first replica has it."""
        return float(keras.ops.convert_to_numpy(self))


class Hyperparameter:
    """A scalar attribute held in a variable: assigning to it changes the compiled step.

    Reading gives the `keras.Variable`, assigning checks the number and writes it into the variable.
    It is kept in float64 and cast where it is used, so that no digit is lost in float64.

    Args:
        minimum: Least value allowed. Defaults to 0.
        maximum: Greatest value allowed. Defaults to infinity.
        exclusive: Whether `minimum` itself is refused. Defaults to `False`.

    Raises:
        ValueError: When a value that is assigned is not a finite number in the range.

    Example:
        >>> class Loss(kd.losses.DistillationLoss):
        ...     temperature = Hyperparameter(exclusive=True)
        >>> loss.temperature = 4.0
    """

    def __init__(
        self, minimum: float = 0.0, maximum: float = math.inf, exclusive: bool = False
    ) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.exclusive = exclusive

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.slot = f"{name}_variable"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return getattr(instance, self.slot)

    def __set__(self, instance: Any, value: float) -> None:
        value = self._checked(type(instance).__name__, value)
        if self.slot in instance.__dict__:
            instance.__dict__[self.slot].assign(value)
            return
        variable = Scalar(
            value,
            dtype="float64",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=self.name,
        )
        setattr(instance, self.slot, variable)

    def _checked(self, owner: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        low = number <= self.minimum if self.exclusive else number < self.minimum
        if not math.isfinite(number) or low or number > self.maximum:
            relation = "greater than" if self.exclusive else "at least"
            upper = "" if self.maximum == math.inf else f" and at most {self.maximum:g}"
            raise ValueError(
                f"{owner}: `{self.name}` must be a finite number {relation} {self.minimum:g}"
                f"{upper}. Received: {self.name}={value!r}"
            )
        return number


def hyperparameters(instance: Any) -> dict[str, keras.Variable]:
    """Names and variables of the hyperparameters of an object, in order of definition."""
    found = {}
    for cls in reversed(type(instance).__mro__):
        for name, attribute in vars(cls).items():
            if isinstance(attribute, Hyperparameter):
                found[name] = getattr(instance, name)
    return found
