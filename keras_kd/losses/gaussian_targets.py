"""Gaussian targets: the mean and the log-variance of a heteroscedastic regression teacher."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss, shapes_agree
from keras_kd.losses.numerics import mean_over_channels

#: The exponential of twice this, times the square of a number, is finite in float32.
_LARGEST = 40.0


@keras.saving.register_keras_serializable(package="keras_kd")
class GaussianTargets(DistillationLoss):
    """Divergence of the student's normal distributions from the teacher's.

    The teacher has 2n outputs for n numbers: their means m_t, then the logarithms l_t of their
    variances. The student has either 2n outputs as well, m_s and l_s, and the value is the
    Kullback-Leibler divergence KL(teacher ‖ student), the mean over the numbers:

        ½ (exp(l_t − l_s) + (m_t − m_s)² exp(−l_s) − (l_t − l_s) − 1)

    Or it has n outputs, the means. Then it takes the variances of the teacher, l_s = l_t:

        ½ (m_t − m_s)² exp(−l_t)

    So a number of which the teacher is uncertain counts less. Log-variances are clipped to
    [−40, 40]; scale targets whose variances are beyond. The labels need the negative log-likelihood
    as the compiled loss if the student has log-variances.

    Args:
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"gaussian_targets"`.

    Raises:
        ValueError: If the shapes do not match, or the outputs are not numbers.

    Example:
        >>> kd.Distiller(student, teacher, kd.losses.GaussianTargets())

    Reference:
        The teacher: Kendall and Gal 2017, arXiv:1703.04977, equation 8.
    """

    tasks = ("values",)

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> None:
        """Check the shapes; there is no projector."""
        units = teacher_shape[-1]
        means = (*teacher_shape[:-1], (units or 0) // 2)
        fits = shapes_agree(teacher_shape, student_shape) or shapes_agree(means, student_shape)
        if len(teacher_shape) < 2 or not units or units % 2 or not fits:
            raise ValueError(
                "GaussianTargets compares normal distributions: the teacher has means and "
                "log-variances, an even number of outputs, and the student the same or the means. "
                f"Received: a teacher of shape {teacher_shape}, a student of shape {student_shape}."
                " For a teacher of numbers alone use OutputsMSE."
            )

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the divergence of each sample, or of each position."""
        self.make_projector(tuple(teacher.shape), tuple(student.shape))
        mean, log_variance = _split(teacher)
        if student.shape[-1] != teacher.shape[-1]:
            return mean_over_channels(0.5 * ops.square(mean - student) * ops.exp(-log_variance))
        own_mean, own_log_variance = _split(student)
        difference = log_variance - own_log_variance
        distance = ops.square(mean - own_mean) * ops.exp(-own_log_variance)
        return mean_over_channels(0.5 * (ops.expm1(difference) - difference + distance))

    def check_head(self, activation: str | None, shape: tuple[int | None, ...]) -> None:
        """Reject a classifier as the teacher."""
        if activation is not None:
            raise ValueError(
                "GaussianTargets needs a teacher of means and log-variances. Received: a teacher's "
                f"output of shape {shape}, activation={activation!r}. If it is a regression, pass "
                "kd.Teacher(model, outputs='values')."
            )

    def declared_task(self, units: int) -> str:
        """Return numbers, whatever the compiled loss; see the base class."""
        return "values"


def _split(outputs: Any) -> tuple[Any, Any]:
    mean, log_variance = ops.split(outputs, 2, axis=-1)
    return mean, ops.clip(log_variance, -_LARGEST, _LARGEST)
