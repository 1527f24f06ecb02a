"""Soft targets: match the teacher's softened distribution."""

import math
from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import kullback_leibler, mean_over_channels
from keras_kd.training.hyperparameters import Hyperparameter
from keras_kd.training.keywords import explain_keywords

_TARGETS = ("forward", "reverse", "jensen_shannon")


@keras.saving.register_keras_serializable(package="keras_kd")
class SoftTargets(DistillationLoss):
    """Kullback-Leibler divergence between softened distributions, times the squared temperature.

    With logits t of the teacher and s of the student, temperature T, p = softmax(t/T) and
    q = softmax(s/T):

        forward:        T² · KL(p ‖ q) = T² · Σ_c p_c · (log p_c − log q_c)
        reverse:        T² · KL(q ‖ p), which penalizes missing classes of the student less
        jensen_shannon: T² · (β KL(p ‖ m) + (1 − β) KL(q ‖ m)), m = β p + (1 − β) q

    The last one is bounded, by T² · log 2 at β = ½. It becomes zero for β → 0 and β → 1, with the
    gradients of a small multiple of the forward and the reverse divergence. As in the paper's code,
    β = 0 itself is the forward and β = 1 the reverse one.

    A binary output (sigmoid) is a distribution over two classes; the loss is the mean over the
    outputs.

    The factor T² makes the gradients similar at every temperature. All terms are computed in log
    space, so the gradient does not vanish for a confident, incorrect student. Axes between the
    batch and the classes (the pixels of a segmentation map) are averaged.

    Args:
        temperature: T, a hyperparameter. Defaults to 4.
        activation: `"softmax"` for mutually exclusive classes, `"sigmoid"` for binary outputs, or
            `None`, by the task of the output in a distiller; elsewhere sigmoid for a single output
            and softmax for several. Defaults to `None`.
        target: `"forward"`, `"reverse"` or `"jensen_shannon"`. Defaults to `"forward"`.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"soft_targets"`.
        beta: β of `jensen_shannon`, in [0, 1]. Defaults to 0.5.

    Raises:
        ValueError: If `temperature` is not positive, `activation` or `target` is unknown, or `beta`
            is out of range or given for another target.

    Example:
        >>> loss = kd.losses.SoftTargets(temperature=4)
        >>> loss(teacher_logits, student_logits)  # (batch,), or per position

    Reference:
        Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2. Reverse: Gu et al. 2023,
        arXiv:2306.08543. Jensen-Shannon: Lin 1991, equation 4.1; with β: Agarwal et al. 2024 (GKD),
        arXiv:2306.13649, equation 1, without the factor T².
    """

    tasks = ("classes", "binary", "labels")
    temperature = Hyperparameter(exclusive=True)

    @explain_keywords()
    def __init__(
        self,
        temperature: float = 4.0,
        activation: str | None = None,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
        target: str = "forward",
        beta: float = 0.5,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)
        if activation not in (None, "softmax", "sigmoid"):
            raise ValueError(
                "SoftTargets: `activation` must be 'softmax', 'sigmoid' or None. "
                f"Received: activation={activation!r}"
            )
        if target not in _TARGETS:
            raise ValueError(
                f"SoftTargets: `target` must be one of {_TARGETS}. Received: target={target!r}"
            )
        if not 0 <= beta <= 1 or (beta != 0.5 and target != "jensen_shannon"):
            raise ValueError(
                "SoftTargets: `beta` must be in [0, 1], and is for target='jensen_shannon' only. "
                f"Received: beta={beta!r}, target={target!r}"
            )
        self.temperature = temperature
        self.activation = activation
        self._by_task: str | None = None
        self.target = target
        self.beta = float(beta)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the divergence of each sample, or of each position."""
        temperature = ops.cast(self.temperature, student.dtype)
        inverse = ops.reciprocal(temperature)
        teacher, student = teacher * inverse, student * inverse
        if self.activation_of(student.shape[-1]) == "sigmoid":
            outputs = self._divergence(_log_bernoulli(teacher), _log_bernoulli(student))
            return mean_over_channels(outputs) * temperature**2
        log_p, log_q = ops.log_softmax(teacher, axis=-1), ops.log_softmax(student, axis=-1)
        return self._divergence(log_p, log_q) * temperature**2

    def _divergence(self, log_p: Any, log_q: Any) -> Any:
        mixes, beta = self.target == "jensen_shannon", self.beta
        if self.target == "forward" or (mixes and beta == 0):
            return kullback_leibler(log_p, log_q)
        if self.target == "reverse" or (mixes and beta == 1):
            return kullback_leibler(log_q, log_p)
        log_m = ops.logaddexp(log_p + math.log(beta), log_q + math.log(1 - beta))
        of_teacher, of_student = (kullback_leibler(one, log_m) for one in (log_p, log_q))
        return beta * of_teacher + (1 - beta) * of_student

    def declared_task(self, units: int) -> str | None:
        """Return the task of `activation`, if it is given."""
        if self.activation == "sigmoid":
            return "binary" if units == 1 else "labels"
        return "classes" if self.activation == "softmax" else None

    def set_task(self, task: str) -> None:
        """Choose the activation by the task, if the arguments leave it open."""
        super().set_task(task)
        self._by_task = "softmax" if task == "classes" else "sigmoid"

    def activation_of(self, units: int) -> str:
        """Return the activation that `call` applies; see the base class."""
        return self.activation or self._by_task or ("sigmoid" if units == 1 else "softmax")

    def check_head(self, activation: str | None, shape: tuple[int | None, ...]) -> None:
        """Reject a teacher whose final activation differs from that of the loss."""
        own = self.activation or self._by_task
        if None not in (activation, own) and activation != own:
            raise ValueError(
                f"SoftTargets: the teacher's output of shape {shape} is made by a {activation}, "
                f"but this loss applies a {own}. Pass SoftTargets(activation='{activation}'). "
                f"Received: activation={self.activation!r}"
            )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "temperature": float(self.temperature),
            "activation": self.activation,
            "target": self.target,
            "beta": self.beta,
        }


def _log_bernoulli(logits: Any) -> Any:
    """Compute the log-probabilities of both classes of each logit, on a new last axis."""
    return ops.stack([ops.log_sigmoid(logits), ops.log_sigmoid(-logits)], axis=-1)
