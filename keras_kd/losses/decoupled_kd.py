"""Decoupled knowledge distillation (DKD)."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import kullback_leibler
from keras_kd.losses.target_class import split_target, target_classes
from keras_kd.training.hyperparameters import Hyperparameter


@keras.saving.register_keras_serializable(package="keras_kd")
class DecoupledKD(DistillationLoss):
    """Soft targets split into target class and non-target classes with separate weights.

    With p the teacher's and q the student's softmax at temperature T, y the label, and p̂, q̂ the
    softmax over the classes other than y:

        T² · (alpha · KL([p_y, 1 − p_y] ‖ [q_y, 1 − q_y]) + beta · KL(p̂ ‖ q̂))

    `SoftTargets` is the case alpha = 1 and beta = 1 − p_y, where a confident teacher suppresses the
    second term. The paper increases the weight from 0 over the first 20 epochs; use
    `LossWeightScheduler`. All terms are computed in log space and averaged over the pixels of a
    map. For a sample without a label (-1), y is the teacher's most likely class.

    Args:
        alpha: Weight of the target class, a hyperparameter. Defaults to 1.
        beta: Weight of the non-target classes, a hyperparameter. Defaults to 8, the paper's value
            for CIFAR-100; the paper uses 0.5 (ImageNet) to 10.
        temperature: T, a hyperparameter. Defaults to 4.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"decoupled_kd"`.

    Raises:
        ValueError: If there are no labels, the outputs are binary, or a hyperparameter is out of
            range.

    Example:
        >>> loss = kd.losses.DecoupledKD(beta=2.0)
        >>> loss(teacher_logits, student_logits, labels)  # (batch,), or per position

    Reference:
        Zhao et al. 2022, arXiv:2203.08679, equation 7.
    """

    needs_labels = True
    tasks = ("classes",)
    alpha = Hyperparameter()
    beta = Hyperparameter()
    temperature = Hyperparameter(exclusive=True)

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the weighted sum of both divergences for each sample, or for each position."""
        alpha, beta, temperature = (
            ops.cast(x, student.dtype) for x in (self.alpha, self.beta, self.temperature)
        )
        target = target_classes(labels, teacher)
        teacher = teacher / temperature
        log_p, log_not_p, others_p = split_target(teacher, target)
        log_q, log_not_q, others_q = split_target(student / temperature, target)
        target_kl = kullback_leibler(
            ops.stack([log_p, log_not_p], axis=-1), ops.stack([log_q, log_not_q], axis=-1)
        )
        others_kl = kullback_leibler(
            ops.log_softmax(others_p, axis=-1), ops.log_softmax(others_q, axis=-1)
        )
        return (alpha * target_kl + beta * others_kl) * temperature**2

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "alpha": float(self.alpha),
            "beta": float(self.beta),
            "temperature": float(self.temperature),
        }
