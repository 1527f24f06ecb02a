"""DIST: distillation of inter-class and intra-class relations."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import center, l2_norm, l2_normalize
from keras_kd.losses.reduction import mean_per_sample
from keras_kd.training.hyperparameters import Hyperparameter

# As in the paper's code; it also defines the correlation of a constant row or column.
_EPSILON = 1e-8


@keras.saving.register_keras_serializable(package="keras_kd")
class DIST(DistillationLoss):
    """One minus the correlation with the teacher, over the classes and over the batch.

    With P the teacher's and Q the student's softmax at temperature T, one row per sample, and ρ
    Pearson's correlation:

        beta · mean_i (1 − ρ(P_i, Q_i)) + gamma · mean_c (1 − ρ(P_·c, Q_·c))

    The second term relates the samples of a batch; each sample gets its share of it, and a single
    sample gets 0. There is no factor T². In a map every pixel is a row, as in the paper's
    segmentation code.

    Args:
        beta: Weight of the relation between classes, a hyperparameter. Defaults to 1.
        gamma: Weight of the relation between samples, a hyperparameter. Defaults to 1.
        temperature: T, a hyperparameter. Defaults to 1; the paper uses 4 for CIFAR-100.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"dist"`.

    Raises:
        ValueError: If the outputs are binary, or a hyperparameter is out of range.

    Example:
        >>> loss = kd.losses.DIST(beta=2.0, gamma=2.0, temperature=4.0)
        >>> loss(teacher_logits, student_logits)  # (batch,)

    Reference:
        Huang et al. 2022, arXiv:2205.10536, equations 8 to 10.
    """

    tasks = ("classes",)
    beta = Hyperparameter()
    gamma = Hyperparameter()
    temperature = Hyperparameter(exclusive=True)

    def __init__(
        self,
        beta: float = 1.0,
        gamma: float = 1.0,
        temperature: float = 1.0,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute each sample's share of one minus the correlations, (batch,)."""
        beta, gamma, temperature = (
            ops.cast(x, student.dtype) for x in (self.beta, self.gamma, self.temperature)
        )
        classes = student.shape[-1]
        teacher = teacher / temperature
        p = ops.reshape(ops.softmax(teacher, axis=-1), (-1, classes))
        q = ops.reshape(ops.softmax(student / temperature, axis=-1), (-1, classes))
        between_classes = ops.sum(_terms(p, q, axis=1), axis=1)
        count = ops.cast(ops.shape(p)[0], p.dtype)
        # A row's share of the mean over rows: its terms times the number of rows.
        between_samples = count * ops.mean(_terms(p, q, axis=0), axis=1)
        between_samples = ops.where(count > 1, between_samples, ops.zeros_like(between_samples))
        values = beta * between_classes + gamma * between_samples
        return mean_per_sample(ops.reshape(values, ops.shape(student)[:-1]))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "beta": float(self.beta),
            "gamma": float(self.gamma),
            "temperature": float(self.temperature),
        }


def _terms(p: Any, q: Any, axis: int) -> Any:
    """Return non-negative terms whose sum along `axis` is one minus Pearson's correlation."""
    p, q = center(p, axis), center(q, axis)
    lengths = l2_norm(p, axis) * l2_norm(q, axis)
    # 1 except for the epsilon; 0 for a constant row or column, which has no correlation.
    defined = lengths / (lengths + _EPSILON)
    count = ops.cast(ops.shape(p)[axis], p.dtype)
    distance = 0.5 * ops.square(l2_normalize(p, axis) - l2_normalize(q, axis))
    return defined * distance + (1.0 - defined) / count
