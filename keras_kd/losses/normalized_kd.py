"""Normalised distillation: the target class with the teacher's confidence, the others by rank."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss, mean_per_sample
from keras_kd.losses.target_class import split_target, target_classes
from keras_kd.training.hyperparameters import Hyperparameter


@keras.saving.register_keras_serializable(package="keras_kd")
class NormalizedKD(DistillationLoss):
    """Cross-entropies of the target class and of the others, both normalised.

    With p the teacher's and q the student's softmax, y the label, and p̂, q̂ the softmax at
    temperature T over the classes other than y:

        −p_y · log q_y − gamma · T² · Σ_c p̂_c · log q̂_c

    These are cross-entropies: not 0 where the student is the teacher, and the first draws it to
    the label beyond that. Everything is in log space; the pixels of a map are averaged. A sample
    without a label (-1) takes the teacher's most likely class as y.

    Args:
        gamma: Weight of the other classes, a hyperparameter. Defaults to 1.5.
        temperature: T, a hyperparameter; it does not touch the target class. Defaults to 1.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: The teacher's output, by name where it has several. Defaults to `None`.
        student_tap: The student's output. Defaults to `None`.
        name: Name in the history. Defaults to `"normalized_kd"`.

    Raises:
        ValueError: When there are no labels, when there is one class only, when a hyperparameter is
            out of range.

    Example:
        >>> loss = kd.losses.NormalizedKD()
        >>> loss(teacher_logits, student_logits, labels)  # (batch,)

    Reference:
        Yang et al. 2023, arXiv:2303.13005, equation 7. Golden: `nkd_T1_g1.5`.
    """

    needs_labels = True
    needs_classes = True
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

    takes_mask = True

    def call(self, teacher: Any, student: Any, labels: Any = None, student_mask: Any = None) -> Any:
        """Computes the two cross-entropies of each sample, (batch,)."""
        gamma = ops.cast(self.gamma, student.dtype)
        temperature = ops.cast(self.temperature, student.dtype)
        target = target_classes(labels, teacher)
        log_p, _, others_p = split_target(ops.cast(teacher, student.dtype), target)
        log_q, _, others_q = split_target(student, target)
        own = -ops.exp(log_p) * log_q
        others_p = ops.log_softmax(others_p / temperature, axis=-1)
        others_q = ops.log_softmax(others_q / temperature, axis=-1)
        others = -ops.sum(ops.exp(others_p) * others_q, axis=-1)
        return mean_per_sample(own + gamma * temperature**2 * others, student_mask)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "gamma": float(self.gamma),
            "temperature": float(self.temperature),
        }
