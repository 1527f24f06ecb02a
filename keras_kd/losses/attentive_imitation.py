"""Attentive imitation: a regression teacher counts less where it is far from the label."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.label_error import number_labels
from keras_kd.losses.numerics import mean_over_channels
from keras_kd.training.hyperparameters import Hyperparameter


@keras.saving.register_keras_serializable(package="keras_kd")
class AttentiveImitation(DistillationLoss):
    """The student's squared distance to the teacher, weighted by the teacher's accuracy.

    With t the teacher's and s the student's outputs, y the label, ‖·‖² the mean of the squares and
    η the range of the teacher's errors, the largest minus the smallest one on the training data:

        max(0, 1 − ‖t − y‖² / η) · ‖s − t‖²

    The paper adds it to the squared error on the labels, which is the compiled loss here. Its
    weight is negative where the error is above η; here it is 0, so that no sample drives the
    student away from the teacher. Missing labels (NaN) do not count: the error is the mean over the
    outputs with a label, and a sample without any has the weight 1.

    Args:
        error_range: η, a hyperparameter. Compute it once from the teacher's predictions on the
            training data, as in the example.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"attentive_imitation"`.

    Raises:
        ValueError: If there are no labels, they have another shape than the outputs, the outputs
            are not numbers, or `error_range` is not positive.

    Example:
        >>> errors = np.mean((teacher.predict(x) - y) ** 2, axis=-1)
        >>> kd.Distiller(student, teacher, kd.losses.AttentiveImitation(np.ptp(errors)))

    Reference:
        Saputra et al. 2019, "Distilling knowledge from a deep pose regressor network",
        arXiv:1908.00858, attentive imitation loss.
    """

    needs_labels = True
    tasks = ("values",)
    error_range = Hyperparameter(exclusive=True)

    def __init__(
        self,
        error_range: float,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)
        self.error_range = error_range

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the weighted distance of each sample, or of each position."""
        labels, known = number_labels(labels, student, type(self).__name__)
        squares = ops.where(known, ops.square(teacher - labels), ops.zeros_like(teacher))
        count = ops.sum(ops.cast(known, student.dtype), axis=-1)
        error = ops.sum(squares, axis=-1) / ops.maximum(count, 1)
        trust = ops.relu(1 - error / ops.cast(self.error_range, student.dtype))
        return trust * mean_over_channels(ops.square(student - teacher))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "error_range": float(self.error_range)}
