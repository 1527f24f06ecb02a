"""Logit standardization: remove mean and scale of the logits before the loss."""

from typing import Any

import keras

from keras_kd.losses.numerics import center, l2_normalize
from keras_kd.losses.wrapped_loss import WrappedLoss

_EPSILON = 1e-7


@keras.saving.register_keras_serializable(package="keras_kd")
class LogitStandardization(WrappedLoss):
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
        ValueError: If `loss` compares features or keeps a state (`TAID`), or the outputs are
            binary.

    Example:
        >>> loss = kd.losses.LogitStandardization(kd.losses.SoftTargets(temperature=2))
        >>> loss(teacher_logits, student_logits)  # (batch,), or per position

    Reference:
        Sun et al. 2024, arXiv:2403.01427, algorithm 1.
    """

    tasks = ("classes",)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the loss of the standardized logits, as the loss within does."""
        return self.loss.call(_standardize(teacher), _standardize(student), labels)


def _standardize(logits: Any) -> Any:
    scale = (logits.shape[-1] - 1) ** 0.5
    return scale * l2_normalize(center(logits), epsilon=scale * _EPSILON)
