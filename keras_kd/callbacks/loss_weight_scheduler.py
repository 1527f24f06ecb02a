"""A schedule for the weight of a loss."""

from keras_kd.callbacks.hyperparameter_scheduler import HyperparameterScheduler, Schedule


class LossWeightScheduler(HyperparameterScheduler):
    """Set the weight of a loss from a schedule.

    Args:
        schedule: As for `HyperparameterScheduler`.
        loss: Name of a distillation loss in the history, or `"student_loss"` for the loss on the
            labels.

    Raises:
        TypeError: If `schedule` is not callable.
        ValueError: As for `HyperparameterScheduler`.

    Example:
        >>> kd.callbacks.LossWeightScheduler(lambda epoch: 0.9**epoch, loss="hint")
    """

    def __init__(self, schedule: Schedule, loss: str) -> None:
        path = "student_loss_weight" if loss == "student_loss" else f"{loss}.weight"
        super().__init__(path, schedule)
