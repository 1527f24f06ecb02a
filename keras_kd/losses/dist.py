"""DIST: the student keeps the teacher's order of preference, not its exact probabilities."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss, mean_per_sample
from keras_kd.losses.numerics import centred, norm, unit
from keras_kd.training.hyperparameters import Hyperparameter

# As in the paper's code; it also settles the correlation of a constant row or column.
_EPSILON = 1e-8


@keras.saving.register_keras_serializable(package="keras_kd")
class DIST(DistillationLoss):
    """One minus the correlation with the teacher, over the classes and over the batch.

    With P the teacher's and Q the student's softmax at temperature T, one row for each sample, and
    ρ Pearson's correlation:

        beta · mean_i (1 − ρ(P_i, Q_i)) + gamma · mean_c (1 − ρ(P_·c, Q_·c))

    The second part relates the samples of a batch; each gets its share of it. There is no T²
    here. In a map every pixel is a row, as in the paper's segmentation code. A single row has
    nothing to relate to: its second part is 0.

    Args:
        beta: Weight of the relation between classes, a hyperparameter. Defaults to 1.
        gamma: Weight of the relation between samples, a hyperparameter. Defaults to 1.
        temperature: T, a hyperparameter. Defaults to 1; the paper has 4 for CIFAR-100.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: The teacher's output, by name where it has several. Defaults to `None`.
        student_tap: The student's output. Defaults to `None`.
        name: Name in the history. Defaults to `"dist"`.

    Raises:
        ValueError: When there is one class only, when a hyperparameter is out of range.

    Example:
        >>> loss = kd.losses.DIST(beta=2.0, gamma=2.0, temperature=4.0)
        >>> loss(teacher_logits, student_logits)  # (batch,)

    Reference:
        Huang et al. 2022, arXiv:2205.10536, equations 8 to 10. Golden: `dist_b1_g1`,
        `dist_b2_g2_T4`.
    """

    needs_classes = True
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
        """Computes each sample's share of one minus the correlations, (batch,)."""
        beta, gamma, temperature = (
            ops.cast(x, student.dtype) for x in (self.beta, self.gamma, self.temperature)
        )
        classes = student.shape[-1]
        teacher = ops.cast(teacher, student.dtype) / temperature
        p = ops.reshape(ops.softmax(teacher, axis=-1), (-1, classes))
        q = ops.reshape(ops.softmax(student / temperature, axis=-1), (-1, classes))
        between_classes = ops.sum(_terms(p, q, axis=1), axis=1)
        count = ops.cast(ops.shape(p)[0], p.dtype)
        # A row's share of the mean over rows: its terms, times the number of rows.
        between_samples = count * ops.mean(_terms(p, q, axis=0), axis=1)
        between_samples = ops.where(count > 1, between_samples, ops.zeros_like(between_samples))
        values = beta * between_classes + gamma * between_samples
        return mean_per_sample(ops.reshape(values, ops.shape(student)[:-1]))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "beta": float(self.beta),
            "gamma": float(self.gamma),
            "temperature": float(self.temperature),
        }


def _terms(p: Any, q: Any, axis: int) -> Any:
    """Terms of at least 0 whose sum along `axis` is one minus Pearson's correlation."""
    p, q = centred(p, axis), centred(q, axis)
    lengths = norm(p, axis) * norm(q, axis)
    # Less than 1 by the epsilon alone; 0 for what is constant, which correlates with nothing.
    certain = lengths / (lengths + _EPSILON)
    count = ops.cast(ops.shape(p)[axis], p.dtype)
    apart = 0.5 * ops.square(unit(p, axis) - unit(q, axis))
    return certain * apart + (1.0 - certain) / count
