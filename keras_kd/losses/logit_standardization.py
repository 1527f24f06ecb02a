"""Logit standardisation: the student learns how the logits lie, not how large they are."""

from typing import Any

import keras

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import centred, unit
from keras_kd.losses.serialization import deserialize, get, serialize

_EPSILON = 1e-7


@keras.saving.register_keras_serializable(package="keras_kd")
class LogitStandardization(DistillationLoss):
    """Any loss on logits, given the logits of both standardised sample by sample.

    With mean μ and unbiased standard deviation σ over the classes:

        loss((t − μ_t) / (σ_t + 1e-7), (s − μ_s) / (σ_s + 1e-7))

    Logits that are all equal stay 0 and get no gradient.

    Args:
        loss: A loss on logits, its name or its configuration; its taps are used and its weight is
            the default of `weight`. Defaults to `"soft_targets"`.
        weight: Weight in the total loss, a hyperparameter. Defaults to that of `loss`; the paper
            has 9 with T = 2 on CIFAR-100.
        name: Name in the history. Defaults to `"logit_standardization"`.

    Raises:
        ValueError: When `loss` works on features, or there is one class only.

    Example:
        >>> loss = kd.losses.LogitStandardization(kd.losses.SoftTargets(temperature=2))
        >>> loss(teacher_logits, student_logits)  # (batch,)

    Reference:
        Sun et al. 2024, arXiv:2403.01427, algorithm 1. Golden: `kd_standardized_T2`.
    """

    needs_classes = True

    def __init__(
        self,
        loss: str | dict[str, Any] | DistillationLoss = "soft_targets",
        weight: float | None = None,
        name: str | None = None,
    ) -> None:
        loss = get(loss)
        if not loss.on_logits:
            raise ValueError(
                "LogitStandardization: `loss` must be one on logits, such as SoftTargets or "
                f"DecoupledKD. Received: {type(loss).__name__}, which compares features"
            )
        weight = float(loss.weight) if weight is None else weight
        super().__init__(weight, loss.teacher_tap, loss.student_tap, name)
        self.loss = loss
        self.needs_labels = loss.needs_labels
        self.takes_mask = loss.takes_mask
        self.relates_samples = loss.relates_samples

    def call(self, teacher: Any, student: Any, labels: Any = None, student_mask: Any = None) -> Any:
        """Computes the loss of the standardised logits, (batch,)."""
        masked = {} if student_mask is None else {"student_mask": student_mask}
        return self.loss.call(_standardized(teacher), _standardized(student), labels, **masked)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "loss": serialize(self.loss),
            "weight": float(self.weight),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LogitStandardization":
        """Makes the loss that `get_config` described."""
        return cls(**{**config, "loss": deserialize(config["loss"])})


def _standardized(logits: Any) -> Any:
    scale = (logits.shape[-1] - 1) ** 0.5
    return scale * unit(centred(logits), epsilon=scale * _EPSILON)
