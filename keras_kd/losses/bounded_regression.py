"""Bounded regression: the teacher's error as an upper bound of the student's."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.label_error import number_labels
from keras_kd.losses.numerics import mean_over_channels
from keras_kd.training.hyperparameters import Hyperparameter


@keras.saving.register_keras_serializable(package="keras_kd")
class BoundedRegression(DistillationLoss):
    """The student's squared error on the label, unless it is below the teacher's by a margin.

    With t the teacher's and s the student's outputs, y the label and ‖·‖² the mean of the squares:

        ‖s − y‖²  if ‖s − y‖² + margin > ‖t − y‖², else 0

    A regression's teacher may be far from the label, and even on the wrong side of it, so it is not
    a target: it only tells for which samples the student is good enough. A sample without a label
    (NaN) has no bound; there, the target is the teacher: ‖s − t‖².

    Args:
        margin: Margin, a hyperparameter. Defaults to 0.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1; the paper uses 0.5.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"bounded_regression"`.

    Raises:
        ValueError: If there are no labels, they have another shape than the outputs, the outputs
            are not numbers, or `margin` is out of range.

    Example:
        >>> kd.Distiller(student, teacher, kd.losses.BoundedRegression(weight=0.5))

    Reference:
        Chen et al. 2017, "Learning efficient object detection models with knowledge distillation",
        NeurIPS, section 3.3.
    """

    needs_labels = True
    tasks = ("values",)
    margin = Hyperparameter()

    def __init__(
        self,
        margin: float = 0.0,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)
        self.margin = margin

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the bounded error of each sample, or of each position."""
        labels, known = number_labels(labels, student, type(self).__name__)
        target = ops.where(known, labels, teacher)
        own = mean_over_channels(ops.square(student - target))
        bound = mean_over_channels(ops.square(teacher - target))
        margin = ops.cast(self.margin, student.dtype)
        bounded = ops.where(own + margin > bound, own, ops.zeros_like(own))
        return ops.where(ops.any(known, axis=-1), bounded, own)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "margin": float(self.margin)}
