"""The scalars that a callback may change during training: temperature, loss weights, noise.

Each is a variable, so a compiled training step uses the new value, and each is checked on
assignment, so a schedule cannot set a temperature of zero.
"""

import math
from typing import Any

import keras

from keras_kd.models.keras_compat import nested_layers
from keras_kd.training import backend


class Scalar(keras.Variable):
    """A scalar variable that `float` can read even if it is mirrored on several devices."""

    def __float__(self) -> float:
        """Return the value on the first replica."""
        return float(keras.ops.convert_to_numpy(self))


class Hyperparameter:
    """A scalar attribute backed by a variable: assigning to it changes the compiled step.

    Reading returns the `keras.Variable`; assigning checks the number and writes it to the variable.
    It is float64, where the backend has it, and cast where it is used, so that float64 models lose
    no precision.

    Args:
        minimum: Smallest valid value. Defaults to `0.0`.
        maximum: Largest valid value. Defaults to infinity.
        exclusive: Whether `minimum` itself is invalid. Defaults to `False`.

    Raises:
        ValueError: If an assigned value is not a finite number in the range.

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
        value = self.check(instance, value)
        if self.slot in instance.__dict__:
            instance.__dict__[self.slot].assign(value)
            return
        variable = Scalar(
            value,
            dtype=backend.FLOAT64,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=self.name,
        )
        setattr(instance, self.slot, variable)

    def check(self, instance: Any, value: Any) -> float:
        """Return a value to be assigned as a number.

        Raises:
            ValueError: If it is not a finite number in the range.
        """
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        low = number <= self.minimum if self.exclusive else number < self.minimum
        if not math.isfinite(number) or low or number > self.maximum:
            relation = "greater than" if self.exclusive else "at least"
            upper = "" if self.maximum == math.inf else f" and at most {self.maximum:g}"
            raise ValueError(
                f"{type(instance).__name__}: `{self.name}` must be a finite number {relation} "
                f"{self.minimum:g}{upper}. Received: {self.name}={value!r}"
            )
        return number


def hyperparameters(instance: Any) -> dict[str, keras.Variable]:
    """Return the hyperparameters of an object by name, in order of definition."""
    found = {}
    for cls in reversed(type(instance).__mro__):
        for name, attribute in vars(cls).items():
            if isinstance(attribute, Hyperparameter):
                found[name] = getattr(instance, name)
    return found


def hyperparameter_holders(layer: keras.layers.Layer) -> dict[str, list[Any]]:
    """Return the objects that hold the hyperparameters of a layer, by name.

    A hyperparameter of the layer itself hides those of the same name in the layers within it (the
    loss within `LogitStandardization`). A name that only layers within have stands for all of them.
    """
    own = hyperparameters(layer)
    found = {name: [layer] for name in own}
    for inner in nested_layers(layer, include_self=False):
        for name in hyperparameters(inner):
            if name not in own:
                found.setdefault(name, []).append(inner)
    return found


class HyperparameterPaths:
    """Mixin: the hyperparameters of an object and of its parts, by path."""

    def hyperparameter_owners(self) -> dict[str, Any]:
        """Return the objects that have hyperparameters, by the prefix of their paths."""
        raise NotImplementedError

    @property
    def hyperparameters(self) -> dict[str, keras.Variable]:
        """The scalars that may change during training, by path, as the schedulers take it."""
        return {
            path: getattr(holders[0], name) for path, (name, holders) in self._by_path().items()
        }

    def set_hyperparameter(self, path: str, value: float) -> None:
        """Change a hyperparameter, also between two compiled steps.

        Raises:
            KeyError: If there is no hyperparameter at that path.
            ValueError: If the value is out of range.
        """
        known = self._by_path()
        if path not in known:
            raise KeyError(f"There is no hyperparameter '{path}'; there are {list(known)}")
        name, holders = known[path]
        for holder in holders:
            setattr(holder, name, value)

    def _by_path(self) -> dict[str, tuple[str, list[Any]]]:
        """Return for each path the name of its hyperparameter and the objects that hold it."""
        found = {}
        for prefix, owner in self.hyperparameter_owners().items():
            own = {name: [self] for name in hyperparameters(self)}
            holders = own if owner is self else hyperparameter_holders(owner)
            found.update({f"{prefix}{name}": (name, objects) for name, objects in holders.items()})
        return found
