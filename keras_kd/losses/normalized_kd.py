"""Normalized knowledge distillation (NKD)."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.target_class import split_target, target_classes
from keras_kd.training.hyperparameters import Hyperparameter


@keras.saving.register_keras_serializable(package="keras_kd")
class NormalizedKD(DistillationLoss):
    """Cross-entropy of the target class plus normalized cross-entropy of the other classes.

    With p the teacher's and q the student's softmax, y the label, and p̂, q̂ the softmax at
    temperature T over the classes other than y:

        −p_y · log q_y − gamma · T² · Σ_c p̂_c · log q̂_c

    The loss is not 0 for equal outputs: the first term still moves the student toward the label.
    All terms are computed in log space and averaged over the pixels of a map. For a sample without
    a label (-1), y is the teacher's most likely class.

    Args:
        gamma: Weight of the non-target classes, a hyperparameter. Defaults to 1.5.
        temperature: T of the non-target classes, a hyperparameter. Defaults to 1.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"normalized_kd"`.

    Raises:
        ValueError: If there are no labels, the outputs are binary, or a hyperparameter is out of
            range.

    Example:
        >>> loss = kd.losses.NormalizedKD()
        >>> loss(teacher_logits, student_logits, labels)  # (batch,), or per position

    Reference:
        Yang et al. 2023, arXiv:2303.13005, equation 7.
    """

    needs_labels = True
    tasks = ("classes",)
    gamma = Hyperparameter()
    temperature = Hyperparameter(exclusive=True)

    def __init__(
        self,
        gamma: float = 1.5,
        temperature: float = 1.0,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)
        self.gamma = gamma
        self.temperature = temperature

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the weighted sum of both cross-entropies for each sample, or each position."""
        gamma = ops.cast(self.gamma, student.dtype)
        temperature = ops.cast(self.temperature, student.dtype)
        target = target_classes(labels, teacher)
        log_p, _, others_p = split_target(teacher, target)
        log_q, _, others_q = split_target(student, target)
        own = -ops.exp(log_p) * log_q
        others_p = ops.log_softmax(others_p / temperature, axis=-1)
        others_q = ops.log_softmax(others_q / temperature, axis=-1)
        others = -ops.sum(ops.exp(others_p) * others_q, axis=-1)
        return own + gamma * temperature**2 * others

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "gamma": float(self.gamma),
            "temperature": float(self.temperature),
        }
