"""A schedule for any hyperparameter of a distiller."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import keras

Schedule: TypeAlias = Callable[..., float] | keras.optimizers.schedules.LearningRateSchedule


class HyperparameterScheduler(keras.callbacks.Callback):
    """Set a hyperparameter from a schedule over epochs or steps.

    The value is a variable, so the compiled step uses the new value. It is logged to the history
    under its path. After a resume, the schedule continues at the current epoch or step.

    Args:
        path: `"student_loss_weight"`, `"NAME.HYPERPARAMETER"` for a loss with that name in the
            history (`"soft_targets.temperature"`, `"hint.weight"`), `"noise.stddev"` or
            `"noise.probability"`. A loss has the hyperparameters of the loss that it wraps:
            `"logit_standardization.temperature"`.
        schedule: A function of the epoch (from 0), or of the epoch and the current value, called at
            the start of each epoch; or a `keras.optimizers.schedules.LearningRateSchedule`, called
            at each step (with `steps_per_execution`, at each execution).

    Raises:
        TypeError: If `schedule` is not callable.
        ValueError: At the start of training, if the hyperparameter does not exist; during training,
            if the schedule returns a value out of its range.

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
        """Reject an unknown path before training."""
        self.paths()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Set the value of this epoch."""
        if not self._over_steps:
            for path in self.paths():
                self.model.set_hyperparameter(path, self._value(epoch, path))

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Set the value of this step."""
        if self._over_steps:
            value = float(self.schedule(self.model.optimizer.iterations))
            for path in self.paths():
                self.model.set_hyperparameter(path, value)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Log the value."""
        if logs is not None:
            for path in self.paths():
                logs[path] = float(self.model.hyperparameters[path])

    def paths(self) -> list[str]:
        """Return the paths of the hyperparameters to set.

        Raises:
            ValueError: If the model has no such hyperparameter.
        """
        return [self._require_known(self.path)]

    def _require_known(self, path: str) -> str:
        known = self.model.hyperparameters
        if path not in known:
            raise ValueError(
                f"{type(self).__name__}: '{self.model.name}' has no hyperparameter '{path}'. "
                f"Available: {', '.join(known)}."
            )
        return path

    def _value(self, epoch: int, path: str) -> Any:
        parameters = inspect.signature(self.schedule).parameters.values()
        if sum(p.default is p.empty for p in parameters) > 1:
            return self.schedule(epoch, float(self.model.hyperparameters[path]))
        return self.schedule(epoch)
