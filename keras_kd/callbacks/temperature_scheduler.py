"""A schedule for the temperature."""

from keras_kd.callbacks.hyperparameter_scheduler import HyperparameterScheduler, Schedule


class TemperatureScheduler(HyperparameterScheduler):
    """Set the temperature of one loss, or of all losses with a temperature, from a schedule.

    Args:
        schedule: As for `HyperparameterScheduler`.
        loss: Name of the loss in the history. Defaults to `None`, all losses with a temperature.

    Raises:
        TypeError: If `schedule` is not callable.
        ValueError: As for `HyperparameterScheduler`.

    Example:
        >>> kd.callbacks.TemperatureScheduler(lambda epoch: max(1.0, 8.0 - epoch))
    """

    def __init__(self, schedule: Schedule, loss: str | None = None) -> None:
        super().__init__(f"{loss}.temperature" if loss else "*.temperature", schedule)
        self.loss = loss

    def paths(self) -> list[str]:
        """Return the paths of the temperatures.

        Raises:
            ValueError: If no loss has a temperature.
        """
        if self.loss is not None:
            return super().paths()
        found = [path for path in self.model.hyperparameters if path.endswith(".temperature")]
        return found or [self._require_known(self.path)]
