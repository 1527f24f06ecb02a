"""Callbacks that a compression adds to the training."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras


class LogAtEpochEnd(keras.callbacks.Callback):
    """Calls a function at the end of each epoch and adds the values that it returns to the logs.

    Args:
        function: Returns values by name.
    """

    def __init__(self, function: Callable[[], dict[str, float]]) -> None:
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Add the values to the logs."""
        _ = self.model  # On JAX, this moves the values of the loop into the variables.
        values = self.function()
        if logs is not None:
            logs.update(values)


class KeepBest(keras.callbacks.Callback):
    """Restores the weights of the best epoch at the end of the training.

    Args:
        variables: The weights.
        monitor: The entry of the history that decides: lower is better for a loss, higher for
            anything else.
        ready: Returns whether an epoch counts; before the final sparsity is reached, none does.

    Raises:
        ValueError: At the end of an epoch, if the history has no such entry.
    """

    def __init__(
        self, variables: Sequence[keras.Variable], monitor: str, ready: Callable[[], bool]
    ) -> None:
        super().__init__()
        self.variables = variables
        self.monitor = monitor
        self.ready = ready
        self.sign = -1 if monitor.endswith("loss") else 1
        self.best: float = -math.inf
        self.weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Store the weights if they are the best so far."""
        if "loss" not in (logs or {}):
            return  # The data ended before this epoch.
        _ = self.model  # As above.
        if self.monitor not in logs:
            raise ValueError(
                f"`monitor` must be an entry of the history: {sorted(logs)}. Received: "
                f"monitor={self.monitor!r}. Entries that start with 'val_' need `validation_data`."
            )
        value = self.sign * float(logs[self.monitor])
        if self.ready() and value > self.best:
            self.best = value
            self.weights = [variable.numpy() for variable in self.variables]

    def on_train_end(self, logs: dict | None = None) -> None:
        """Restore the best weights."""
        if self.weights is not None:
            for variable, value in zip(self.variables, self.weights, strict=True):
                variable.assign(value)
