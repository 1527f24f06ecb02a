"""WTTM: weighted transformed teacher matching."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import kullback_leibler
from keras_kd.training.hyperparameters import Hyperparameter


@keras.saving.register_keras_serializable(package="keras_kd")
class WTTM(DistillationLoss):
    """Match the teacher's power-transformed distribution with the student's own, not softened one.

    With t the teacher's and q the student's softmax at temperature 1:

        (Σ_c t_c^gamma) · KL(p ‖ q), p_c = t_c^gamma / Σ_c t_c^gamma

    p is the teacher's softmax at temperature 1 / gamma. The student is not softened, so it need not
    reach the teacher's large logits. The first factor, between 1 and classes^(1 − gamma), is larger
    for samples of which the teacher is less certain. Computed in log space; positions of a map are
    averaged.

    Args:
        gamma: Power of the teacher's probabilities, a hyperparameter. Defaults to 0.25, a
            temperature of 4; the authors' examples for CIFAR-100 use 0.1 and 0.2.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1; the authors' examples use
            4 and 45.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"wttm"`.

    Raises:
        ValueError: If the outputs are binary, or a hyperparameter is out of range.

    Example:
        >>> loss = kd.losses.WTTM(gamma=0.25)
        >>> loss(teacher_logits, student_logits)  # (batch,), or per position

    Reference:
        Zheng and Yang 2024, arXiv:2402.11148, equations 9 and 15.
    """

    tasks = ("classes",)
    gamma = Hyperparameter(exclusive=True)

    def __init__(
        self,
        gamma: float = 0.25,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)
        self.gamma = gamma

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the weighted divergence of each sample, or of each position."""
        gamma = ops.cast(self.gamma, student.dtype)
        log_power = gamma * ops.log_softmax(teacher, axis=-1)
        log_sum = ops.logsumexp(log_power, axis=-1, keepdims=True)
        divergence = kullback_leibler(log_power - log_sum, ops.log_softmax(student, axis=-1))
        return ops.exp(log_sum[..., 0]) * divergence

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "gamma": float(self.gamma)}
