"""Logit standardization: remove mean and scale of the logits before the loss."""

from typing import Any

import keras

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import center, l2_normalize
from keras_kd.losses.serialization import deserialize, get, serialize

_EPSILON = 1e-7


@keras.saving.register_keras_serializable(package="keras_kd")
class LogitStandardization(DistillationLoss):
    """A loss on logits that are standardized per sample.

    With mean μ and unbiased standard deviation σ over the classes:

        loss((t − μ_t) / (σ_t + 1e-7), (s − μ_s) / (σ_s + 1e-7))

    Equal logits become 0 and have no gradient.

    Args:
        loss: A loss on logits, its name or its configuration. Its taps are used, and its weight is
            the default of `weight`. Defaults to `"soft_targets"`.
        weight: Weight in the total loss, a hyperparameter. Defaults to the weight of `loss`; the
            paper uses 9 with T = 2 on CIFAR-100.
        name: Name in the history. Defaults to `"logit_standardization"`.

    Raises:
        ValueError: If `loss` compares features, or the outputs are binary.

    Example:
        >>> loss = kd.losses.LogitStandardization(kd.losses.SoftTargets(temperature=2))
        >>> loss(teacher_logits, student_logits)  # (batch,), or per position

    Reference:
        Sun et al. 2024, arXiv:2403.01427, algorithm 1.
    """

    tasks = ("classes",)

    def __init__(
        self,
        loss: str | dict[str, Any] | DistillationLoss = "soft_targets",
        weight: float | None = None,
        name: str | None = None,
    ) -> None:
        loss = get(loss)
        if not loss.on_logits:
            raise ValueError(
                "LogitStandardization: `loss` must be a loss on logits, such as SoftTargets or "
                f"DecoupledKD. Received: {type(loss).__name__}, which compares features"
            )
        weight = float(loss.weight) if weight is None else weight
        super().__init__(weight, loss.teacher_tap, loss.student_tap, name)
        self.loss = loss
        self.needs_labels = loss.needs_labels
        self.relates_samples = loss.relates_samples

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the loss of the standardized logits, as the loss within does."""
        return self.loss.call(_standardize(teacher), _standardize(student), labels)

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
    def from_config(cls, config: dict[str, Any]) -> "LogitStandardization":
        """Create the loss from the result of `get_config`."""
        return cls(**{**config, "loss": deserialize(config["loss"])})


def _standardize(logits: Any) -> Any:
    scale = (logits.shape[-1] - 1) ** 0.5
    return scale * l2_normalize(center(logits), epsilon=scale * _EPSILON)
