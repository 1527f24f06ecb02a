"""The noise on the teacher's logits, changed while the student trains."""

from keras_kd.callbacks.hyperparameter_scheduler import HyperparameterScheduler, Schedule


class NoiseScheduler(HyperparameterScheduler):
    """Sets the standard deviation of the noise from a schedule.

    Args:
        schedule: As for `HyperparameterScheduler`.

    Example:
        >>> kd.callbacks.NoiseScheduler(lambda epoch: 1.0 * 0.9**epoch)
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__("noise.stddev", schedule)
