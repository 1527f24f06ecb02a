"""TAID: temporally adaptive interpolated distillation."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import kullback_leibler
from keras_kd.losses.reduction import mean_over_samples
from keras_kd.training import backend
from keras_kd.training.hyperparameters import Hyperparameter


@keras.saving.register_keras_serializable(package="keras_kd")
class TAID(DistillationLoss):
    """Divergence from a target between the student's own distribution and the teacher's.

    With logits z_t of the teacher and z_s of the student, which has no gradient in the target:

        KL(p_t ‖ softmax(z_s)), p_t = softmax((1 − t) · z_s + t · z_t)

    A target near the student is easier to learn for a student that is much smaller than its
    teacher. `kd.callbacks.TAIDScheduler` increases t to 1 during the training. The temperature is
    1, and the positions of a sequence are averaged.

    The authors' code returns the cross-entropy, −Σ p_t log q: it has the same gradient, but its
    value depends on the entropy of the target. This is the divergence, the J of the paper.

    Args:
        t: Share of the teacher in the target, a hyperparameter in [0, 1]. Defaults to 0.4, where
            the paper starts.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"taid"`.

    Raises:
        ValueError: If the outputs are binary, or a hyperparameter is out of range.

    Example:
        >>> distiller = kd.Distiller(student, teacher, kd.losses.TAID())
        >>> distiller.fit(train, epochs=10, callbacks=[kd.callbacks.TAIDScheduler()])

    Reference:
        Shing et al. 2025, arXiv:2501.16937, section 3.
    """

    tasks = ("classes",)
    t = Hyperparameter(maximum=1.0)

    def __init__(
        self,
        t: float = 0.4,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)
        self.t = t
        # What the rule of the scheduler reads and keeps, in variables, so that a resumed run
        # continues with them: the loss of the last batch and of the one before (-1 for none yet),
        # and the momentum.
        self.last_value = _state(-1.0, "last_value")
        self.previous_value = _state(-1.0, "previous_value")
        self.momentum = _state(0.0, "momentum")

    def compare(
        self, projector: keras.layers.Layer | None, teacher: Any, student: Any, labels: Any = None
    ) -> Any:
        """Compute the loss and keep its mean for the scheduler; see the base class."""
        values = super().compare(projector, teacher, student, labels)
        if self.updates_state:
            mean = ops.stop_gradient(mean_over_samples(values))
            share, _ = backend.replica_share(ops.shape(student)[0])
            mean = mean if share is None else mean * ops.cast(share, mean.dtype)
            self.last_value.assign(ops.cast(mean, self.last_value.dtype))
        return values

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the divergence of each sample, or of each position."""
        t = ops.cast(self.t, student.dtype)
        target = (1.0 - t) * ops.stop_gradient(student) + t * teacher
        log_p, log_q = ops.log_softmax(target, axis=-1), ops.log_softmax(student, axis=-1)
        return kullback_leibler(log_p, log_q)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "t": float(self.t)}


def _state(value: float, name: str) -> keras.Variable:
    # The mean over the replicas, each with its share, is the loss of the batch.
    how = {"trainable": False, "autocast": False, "aggregation": "mean"}
    return keras.Variable(value, dtype=backend.FLOAT64, name=name, **how)
