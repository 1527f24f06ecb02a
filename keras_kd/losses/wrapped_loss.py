"""The base class of losses around another loss on logits."""

from typing import Any

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.serialization import deserialize, get, serialize


class WrappedLoss(DistillationLoss):
    """A loss around another one on logits, with its taps and its needs.

    Subclasses define `call`, which calls that of `loss`.

    Args:
        loss: A loss on logits, its name or its configuration. Defaults to `"soft_targets"`.
        weight: Weight in the total loss. Defaults to the weight of `loss`.
        name: Name in the history. Defaults to the class name in snake case.

    Raises:
        ValueError: If `loss` compares features, or keeps a state, which a call within would skip.
    """

    def __init__(
        self,
        loss: str | dict[str, Any] | DistillationLoss = "soft_targets",
        weight: float | None = None,
        name: str | None = None,
    ) -> None:
        loss, own = get(loss), type(self).__name__
        if not loss.on_logits:
            raise ValueError(
                f"{own}: `loss` must be a loss on logits, such as SoftTargets or DIST. "
                f"Received: {type(loss).__name__}, which compares features"
            )
        if type(loss).compare is not DistillationLoss.compare:
            raise ValueError(
                f"{own}: `loss` must depend on its arguments alone, as SoftTargets or DIST. "
                f"Received: {type(loss).__name__}, which keeps a state between the steps"
            )
        weight = float(loss.weight) if weight is None else weight
        super().__init__(weight, loss.teacher_tap, loss.student_tap, name)
        self.loss = loss
        self.needs_labels = loss.needs_labels
        self.reads_classes = loss.reads_classes
        self.relates_samples = loss.relates_samples

    def set_task(self, task: str) -> None:
        """Tell both losses the task; see the base class."""
        super().set_task(task)
        self.loss.set_task(task)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "loss": serialize(self.loss),
            "weight": float(self.weight),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WrappedLoss":
        """Create the loss from the result of `get_config`."""
        return cls(**{**config, "loss": deserialize(config["loss"])})
