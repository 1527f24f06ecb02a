"""The temperature of the soft targets, changed while the student trains."""

from keras_kd.callbacks.hyperparameter_scheduler import HyperparameterScheduler, Schedule


class TemperatureScheduler(HyperparameterScheduler):
    """Sets the temperature of one loss, or of all that have one, from a schedule.

    Args:
        schedule: As for `HyperparameterScheduler`.
        loss: Name of the loss in the history. Defaults to all losses that have a temperature.

    Example:
        >>> kd.callbacks.TemperatureScheduler(lambda epoch: max(1.0, 8.0 - epoch))
    """

    def __init__(self, schedule: Schedule, loss: str | None = None) -> None:
        super().__init__(f"{loss}.temperature" if loss else "*.temperature", schedule)
        self.loss = loss

    def paths(self) -> list[str]:
        """The temperatures that are set.

        Raises:
            ValueError: When no loss has a temperature.
        """
        if self.loss is not None:
            return super().paths()
        found = [path for path in self.model.hyperparameters if path.endswith(".temperature")]
        return found or [self._known(self.path)]
