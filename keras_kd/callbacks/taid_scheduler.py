"""The adaptive schedule of TAID."""

import math
from typing import Any

import keras

from keras_kd.losses.taid import TAID

# As in the paper's code, added to the loss that divides.
_EPSILON = 1e-15


class TAIDScheduler(keras.callbacks.Callback):
    """Increase the share of the teacher in the target of `kd.losses.TAID`, faster while it learns.

    After step n of N, with the loss J of the batch:

        δ = (J_previous − J) / (J_previous + 1e-15),  m = beta · m + (1 − beta) · δ
        t = min(end, max(start + (end − start) · n/N, t + alpha · sigmoid(m) · (1 − t)))

    The first step only keeps its loss. n is the number of steps of the optimizer, so a second `fit`
    continues. All that the rule keeps is in variables of the loss, and so in checkpoints; t is
    logged to the history under its path, such as `taid.t`. With `steps_per_execution`, the rule is
    applied once per execution, to its last step. alpha=0 is a linear schedule.

    Args:
        alpha: Largest step of t. Defaults to 5e-4.
        beta: Momentum, in [0, 1). Defaults to 0.99.
        start: t at the start. Defaults to 0.4.
        end: t at the end. Defaults to 1.
        steps: N. Defaults to `None`, the steps of this `fit`.
        loss: Name of the loss in the history. Defaults to `"taid"`.

    Raises:
        ValueError: If a number is out of range; at the start of training, if the distiller has no
            such loss, several teachers, or an unknown number of steps.

    Example:
        >>> distiller.fit(train, epochs=10, callbacks=[kd.callbacks.TAIDScheduler()])

    Reference:
        Shing et al. 2025, arXiv:2501.16937, algorithm 1.
    """

    def __init__(
        self,
        alpha: float = 5e-4,
        beta: float = 0.99,
        start: float = 0.4,
        end: float = 1.0,
        steps: int | None = None,
        loss: str = "taid",
    ) -> None:
        super().__init__()
        fits = alpha >= 0 and 0 <= beta < 1 and 0 <= start <= end <= 1
        if not fits or (steps is not None and steps < 1):
            raise ValueError(
                "TAIDScheduler: `alpha` must be at least 0, `beta` in [0, 1), 0 <= start <= end <= "
                f"1, and `steps` at least 1 or None. Received: alpha={alpha!r}, beta={beta!r}, "
                f"start={start!r}, end={end!r}, steps={steps!r}"
            )
        self.alpha = alpha
        self.beta = beta
        self.start = start
        self.end = end
        self.steps = steps
        self.loss = loss

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Find the loss and the number of steps, and set t before the first step."""
        self._term = self._find_loss()
        self._steps = self.steps or self._count_steps()
        if _number(self.model.optimizer.iterations) == 0:
            self._term.t = self.start

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Apply the rule to the last step."""
        step = int(_number(self.model.optimizer.iterations)) - 1
        self.update(self._term, step, self._steps)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Log t."""
        if logs is not None:
            logs[f"{self.loss}.t"] = float(self._term.t)

    def update(self, loss: TAID, step: int, steps: int) -> None:
        """Set t of a loss, and what the rule keeps, from its value in the last batch.

        Args:
            loss: The loss.
            step: Number of the step, from 0.
            steps: Number of all steps.
        """
        value, previous = (_number(v) for v in (loss.last_value, loss.previous_value))
        loss.previous_value.assign(value)
        if previous < 0:
            return  # The first step.
        change = (previous - value) / (previous + _EPSILON)
        momentum = self.beta * _number(loss.momentum) + (1 - self.beta) * change
        loss.momentum.assign(momentum)
        t = float(loss.t)
        adaptive = t + self.alpha / (1 + math.exp(-momentum)) * (1 - t)
        linear = self.start + (self.end - self.start) * step / steps
        loss.t = min(self.end, max(linear, adaptive))

    def _find_loss(self) -> TAID:
        found = self.model.hyperparameter_owners().get(f"{self.loss}.")
        if not isinstance(found, TAID):
            raise ValueError(
                f"TAIDScheduler: '{self.model.name}' has no loss kd.losses.TAID with the name "
                f"'{self.loss}'. Available: {', '.join(self.model.hyperparameters)}."
            )
        if len(self.model.teachers) > 1 and self.model.objective.combine == "losses":
            raise ValueError(
                "TAIDScheduler reads one loss per step, but each teacher has its own. Pass "
                "combine='probabilities' or 'logits' to the distiller. Received: "
                f"{len(self.model.teachers)} teachers"
            )
        return found

    def _count_steps(self) -> int:
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        if not steps:
            raise ValueError(
                "TAIDScheduler: the number of steps is not known, since the data do not tell how "
                "many batches they have. Pass TAIDScheduler(steps=...). Received: steps=None"
            )
        return epochs * steps


def _number(variable: Any) -> float:
    return float(keras.ops.convert_to_numpy(variable))
