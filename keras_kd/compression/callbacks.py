"""What happens at the end of each epoch of a compression, and the callbacks of tf_keras."""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import keras

from keras_kd.compression.tfmot import imports as legacy_keras


class AtEpochEnd(keras.callbacks.Callback):
    """Calls a function at the end of each epoch and writes what it returns into the history.

    Args:
        function: Gives names and numbers.
    """

    def __init__(self, function: Callable[[], dict[str, float]]) -> None:
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Adds the numbers to the logs."""
        found = self.function()
        if logs is not None:
            logs.update(found)


class KeepBest(keras.callbacks.Callback):
    """Ends with the weights of the best epoch.

    Args:
        variables: What the weights are.
        monitor: Which entry of the history is looked at: the least of a loss, the greatest of
            anything else.
        ready: Whether an epoch counts, asked at its end: before the final sparsity none does.

    Raises:
        ValueError: At the end of an epoch, when the history has no such entry.
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
        """Remembers the weights where they are the best so far."""
        if self.monitor not in (logs or {}):
            raise ValueError(
                f"`monitor` must be an entry of the history: {sorted(logs or {})}. Received: "
                f"monitor={self.monitor!r}. Entries that begin with 'val_' need `validation_data`."
            )
        value = self.sign * float(logs[self.monitor])
        if self.ready() and value > self.best:
            self.best = value
            self.weights = [variable.numpy() for variable in self.variables]

    def on_train_end(self, logs: dict | None = None) -> None:
        """Puts the best weights back."""
        if self.weights is not None:
            for variable, value in zip(self.variables, self.weights, strict=True):
                variable.assign(value)


class LegacyCallback(keras.callbacks.Callback):
    """A callback of tf_keras at work: it sees the tf_keras model, and Keras 3's optimizer.

    Args:
        callback: A `tf_keras.callbacks.Callback`.
        legacy: The tf_keras model.
    """

    def __init__(self, callback: Any, legacy: Any) -> None:
        super().__init__()
        self.callback = callback
        self.legacy = legacy

    def set_params(self, params: dict) -> None:
        """Hands the parameters on."""
        super().set_params(params)
        self.callback.set_params(params)

    def set_model(self, model: keras.Model) -> None:
        """Shows the callback the tf_keras model."""
        super().set_model(model)
        self.legacy.stop_training = False
        self.legacy.optimizer = _optimizer_view(model.optimizer)
        self.callback.set_model(self.legacy)


def _forward(name: str) -> Callable[..., None]:
    def hook(self: LegacyCallback, *args: Any, **kwargs: Any) -> None:
        getattr(self.callback, name)(*args, **kwargs)
        if self.legacy.stop_training:
            self.model.stop_training = True

    hook.__name__ = name
    return hook


for _moment in ("train", "test", "epoch", "train_batch", "test_batch"):
    for _end in ("begin", "end"):
        setattr(LegacyCallback, f"on_{_moment}_{_end}", _forward(f"on_{_moment}_{_end}"))


def adapted(callbacks: Any, legacy: Any = None) -> list[keras.callbacks.Callback]:
    """Callbacks of either Keras, as Keras 3 takes them.

    Args:
        callbacks: One, or a list of them.
        legacy: The tf_keras model that callbacks of tf_keras see. Defaults to none.

    Returns:
        Callbacks of Keras 3.

    Raises:
        TypeError: When one is a callback of neither.
    """
    several = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
    made = []
    for callback in several:
        if legacy is not None and isinstance(callback, legacy_keras.tf_keras().callbacks.Callback):
            made.append(LegacyCallback(callback, legacy))
        elif isinstance(callback, keras.callbacks.Callback):
            made.append(callback)
        else:
            raise TypeError(
                "`callbacks` must be callbacks of keras, or of tf_keras for a student that runs in "
                "it. "
                f"Received: {callback!r} (of type {type(callback).__name__})"
            )
    return made


def _optimizer_view(optimizer: keras.optimizers.Optimizer) -> SimpleNamespace:
    """What tf_keras callbacks look for in an optimizer: they may read and set the variables."""
    view = SimpleNamespace(iterations=optimizer.iterations.value)
    rate = optimizer.learning_rate
    if isinstance(rate, keras.Variable):
        view.lr = view.learning_rate = rate.value
    return view
