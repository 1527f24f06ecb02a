"""A schedule for the noise on the teacher's logits."""

from keras_kd.callbacks.hyperparameter_scheduler import HyperparameterScheduler, Schedule


class NoiseScheduler(HyperparameterScheduler):
    """Set the standard deviation of the noise from a schedule.

    Args:
        schedule: As for `HyperparameterScheduler`.

    Raises:
        TypeError: If `schedule` is not callable.
        ValueError: As for `HyperparameterScheduler`.

    Example:
        >>> kd.callbacks.NoiseScheduler(lambda epoch: 1.0 * 0.9**epoch)
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__("noise.stddev", schedule)
