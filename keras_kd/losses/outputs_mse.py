"""Mean squared error of the outputs: of logits, or of the numbers of a regression."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import mean_over_channels


@keras.saving.register_keras_serializable(package="keras_kd")
class OutputsMSE(DistillationLoss):
    """Mean squared difference of the outputs: mean_c (t_c − s_c)².

    For classes and labels the outputs are logits, and the loss is the limit of soft targets at a
    high temperature; for a regression they are the numbers themselves.

    Args:
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"outputs_mse"`.

    Example:
        >>> kd.losses.OutputsMSE()(teacher_outputs, student_outputs)  # (batch,), or per position

    Reference:
        Ba and Caruana 2014, arXiv:1312.6184, equation 1.
    """

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the mean squared difference of each sample, or of each position."""
        return mean_over_channels(ops.square(teacher - student))
