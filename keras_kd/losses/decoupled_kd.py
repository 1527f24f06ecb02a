"""Decoupled distillation: how sure the teacher is, apart from what it knows of other classes."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss, mean_per_sample
from keras_kd.losses.numerics import kullback_leibler
from keras_kd.losses.target_class import split_target, target_classes
from keras_kd.training.hyperparameters import Hyperparameter


@keras.saving.register_keras_serializable(package="keras_kd")
class DecoupledKD(DistillationLoss):
    """Soft targets taken apart into the target class and the others, each with its own weight.

    With p the teacher's and q the student's softmax at temperature T, y the label, and p̂, q̂ the
    softmax over the classes other than y:

        T² · (alpha · KL([p_y, 1 − p_y] ‖ [q_y, 1 − q_y]) + beta · KL(p̂ ‖ q̂))

    Plain soft targets have alpha = 1 and beta = 1 − p_y, which silences the second part just where
    the teacher is sure. The paper raises the weight from 0 over the first 20 epochs: schedule
    `weight`, a hyperparameter. Everything is in log space; the pixels of a map are averaged. A
    sample without a label (-1) takes the teacher's most likely class as y.

    Args:
        alpha: Weight of the target class, a hyperparameter. Defaults to 1.
        beta: Weight of the other classes, a hyperparameter. Defaults to 8, the paper's for
            CIFAR-100; between 0.5 (ImageNet) and 10.
        temperature: T, a hyperparameter. Defaults to 4.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: The teacher's output, by name where it has several. Defaults to `None`.
        student_tap: The student's output. Defaults to `None`.
        name: Name in the history. Defaults to `"decoupled_kd"`.

    Raises:
        ValueError: When there are no labels, when there is one class only, when a hyperparameter is
            out of range.

    Example:
        >>> loss = kd.losses.DecoupledKD(beta=2.0)
        >>> loss(teacher_logits, student_logits, labels)  # (batch,)

    Reference:
        Zhao et al. 2022, arXiv:2203.08679, equation 7. Golden: `dkd_a1_b8_T4`, `dkd_a1_b2_T1`.
    """

    needs_labels = True
    needs_classes = True
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

    takes_mask = True

    def call(self, teacher: Any, student: Any, labels: Any = None, student_mask: Any = None) -> Any:
        """Computes the two divergences of each sample, weighted, (batch,)."""
        alpha, beta, temperature = (
            ops.cast(x, student.dtype) for x in (self.alpha, self.beta, self.temperature)
        )
        target = target_classes(labels, teacher)
        teacher = ops.cast(teacher, student.dtype) / temperature
        log_p, log_not_p, others_p = split_target(teacher, target)
        log_q, log_not_q, others_q = split_target(student / temperature, target)
        sure = kullback_leibler(
            ops.stack([log_p, log_not_p], axis=-1), ops.stack([log_q, log_not_q], axis=-1)
        )
        dark = kullback_leibler(
            ops.log_softmax(others_p, axis=-1), ops.log_softmax(others_q, axis=-1)
        )
        return mean_per_sample(alpha * sure + beta * dark, student_mask) * temperature**2

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "alpha": float(self.alpha),
            "beta": float(self.beta),
            "temperature": float(self.temperature),
        }
