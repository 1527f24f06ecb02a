"""Soft targets: the student matches the teacher's softened distribution (Hinton et al. 2015)."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter
from keras_kd.losses.distillation_loss import DistillationLoss, mean_per_sample


@keras.saving.register_keras_serializable(package="keras_kd")
class SoftTargets(DistillationLoss):
    """Kullback-Leibler divergence between softened distributions, times the temperature squared.

    With logits t of the teacher and s of the student and temperature T:

        categorical: T² · Σ_c p_c · (log p_c − log q_c),  p = softmax(t/T), q = softmax(s/T)
        binary:      T² · mean_c of the same for each output alone, with the sigmoid

    T² keeps the size of the gradient about the same at every temperature. Everything is computed
    in log space, so a confidently wrong student keeps its gradient. Axes between the batch and the
    classes (the pixels of a segmentation map) are averaged.

    Args:
        temperature: T, a hyperparameter. Defaults to 2.
        activation: `"softmax"` for one class of many, `"sigmoid"` for one or several binary
            outputs, or `None` for softmax unless there is a single output. Defaults to `None`.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: The teacher's output, by name where it has several. Defaults to `None`.
        student_tap: The student's output. Defaults to `None`.
        name: Name in the history. Defaults to `"soft_targets"`.

    Raises:
        ValueError: When `temperature` is not above 0 or `activation` is unknown.

    Example:
        >>> loss = kd.losses.SoftTargets(temperature=4)
        >>> loss(teacher_logits, student_logits)  # (batch,)

    Reference:
        Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2. Golden: `kd_T1`, `kd_T4`.
    """

    temperature = Hyperparameter(exclusive=True)

    def __init__(
        self,
        temperature: float = 2.0,
        activation: str | None = None,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)
        if activation not in (None, "softmax", "sigmoid"):
            raise ValueError(
                "SoftTargets: `activation` must be 'softmax', 'sigmoid' or None. "
                f"Received: activation={activation!r}"
            )
        self.temperature = temperature
        self.activation = activation

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Computes the divergence of each sample, (batch,)."""
        temperature = ops.cast(self.temperature, student.dtype)
        teacher = ops.cast(teacher, student.dtype) / temperature
        student = student / temperature
        single = student.shape[-1] == 1
        if self.activation == "sigmoid" or (self.activation is None and single):
            values = _bernoulli_divergence(teacher, student)
        else:
            log_p = ops.log_softmax(teacher, axis=-1)
            log_q = ops.log_softmax(student, axis=-1)
            values = ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)
        return mean_per_sample(values) * temperature**2

    def check_head(self, activation: str | None, shape: tuple[int | None, ...]) -> None:
        """Refuses a teacher of the other kind: sigmoid outputs are no softmax, and the reverse."""
        own = self.activation or ("sigmoid" if shape[-1] == 1 else "softmax")
        if activation is not None and activation != own:
            raise ValueError(
                f"SoftTargets: the teacher's output of shape {shape} is made by a {activation}, "
                f"but this loss reads it as {own}. Pass SoftTargets(activation='{activation}'). "
                f"Received: activation={self.activation!r}"
            )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "temperature": float(self.temperature),
            "activation": self.activation,
        }


def _bernoulli_divergence(teacher: Any, student: Any) -> Any:
    """KL between two Bernoulli distributions given by their logits, elementwise."""
    on = ops.sigmoid(teacher) * (ops.log_sigmoid(teacher) - ops.log_sigmoid(student))
    off = ops.sigmoid(-teacher) * (ops.log_sigmoid(-teacher) - ops.log_sigmoid(-student))
    return on + off
