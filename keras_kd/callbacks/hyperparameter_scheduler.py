"""Any hyperparameter of a distiller, changed while it trains."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

Schedule = Callable[..., float] | keras.optimizers.schedules.LearningRateSchedule


class HyperparameterScheduler(keras.callbacks.Callback):
    """Sets a hyperparameter from a schedule over epochs or over steps.

    The value is a variable, so the compiled step sees the change; it is written into the history
    under its path. After a resume the schedule goes on at the epoch or step that was reached.

    Args:
        path: `"student_loss_weight"`, `"NAME.HYPERPARAMETER"` of a loss by its name in the history
            (`"soft_targets.temperature"`, `"hint.weight"`), or `"noise.stddev"` and
            `"noise.probability"`.
        schedule: A function of the epoch (from 0), or of the epoch and the present value, called at
            the start of each epoch; or a `keras.optimizers.schedules.LearningRateSchedule`, read at
            each step (with `steps_per_execution`, at each execution).

    Raises:
        ValueError: At the start of training, when there is no such hyperparameter; and when the
            schedule gives a value out of its range.

    Example:
        >>> warm_up = kd.callbacks.HyperparameterScheduler(
        ...     "decoupled_kd.weight", lambda epoch: min(1.0, (epoch + 1) / 20)
        ... )
    """

    def __init__(self, path: str, schedule: Schedule) -> None:
        super().__init__()
        if not callable(schedule):
            raise TypeError(
                f"{type(self).__name__}: `schedule` must be a function of the epoch or a "
                f"LearningRateSchedule. Received: schedule={schedule!r}"
            )
        self.path = path
        self.schedule = schedule
        self._over_steps = isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Finds the hyperparameters, so that a wrong path is answered before training."""
        self.paths()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Sets the value of this epoch."""
        if not self._over_steps:
            for path in self.paths():
                self.model.set_hyperparameter(path, self._value(epoch, path))

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Sets the value of this step."""
        if self._over_steps:
            value = float(self.schedule(self.model.optimizer.iterations))
            for path in self.paths():
                self.model.set_hyperparameter(path, value)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the value into the history."""
        if logs is not None:
            for path in self.paths():
                logs[path] = float(self.model.hyperparameters[path])

    def paths(self) -> list[str]:
        """The hyperparameters that are set.

        Raises:
            ValueError: When the model has none of that name.
        """
        return [self._known(self.path)]

    def _known(self, path: str) -> str:
        known = self.model.hyperparameters
        if path not in known:
            raise ValueError(
                f"{type(self).__name__}: '{self.model.name}' has no hyperparameter '{path}'. It "
                f"has: {', '.join(known)}."
            )
        return path

    def _value(self, epoch: int, path: str) -> Any:
        parameters = inspect.signature(self.schedule).parameters.values()
        if sum(p.default is p.empty for p in parameters) > 1:
            return self.schedule(epoch, float(self.model.hyperparameters[path]))
        return self.schedule(epoch)
