"""Mean squared error of the logits, the limit of soft targets at a high temperature."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import mean_over_channels


@keras.saving.register_keras_serializable(package="keras_kd")
class LogitsMSE(DistillationLoss):
    """Mean squared difference of the logits: mean_c (t_c − s_c)².

    Args:
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"logits_mse"`.

    Example:
        >>> kd.losses.LogitsMSE()(teacher_logits, student_logits)  # (batch,), or per position

    Reference:
        Ba and Caruana 2014, arXiv:1312.6184, equation 1.
    """

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the mean squared difference of each sample, or of each position."""
        return mean_over_channels(ops.square(teacher - student))
