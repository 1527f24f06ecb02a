"""Neuron selectivity transfer (NST)."""

import math
from typing import Any

import keras
from keras import ops

from keras_kd.losses.feature_loss import FeatureLoss
from keras_kd.losses.numerics import l2_normalize, match_sizes


@keras.saving.register_keras_serializable(package="keras_kd")
class NeuronSelectivity(FeatureLoss):
    """Squared maximum mean discrepancy between the activation patterns of the channels.

    Each channel's map is one point, an L2-normalized vector over the positions. The teacher's
    points x and the student's points y are compared with the kernel k(x, y) = (xᵀy)²:

        mean k(x, x') + mean k(y, y') − 2 · mean k(x, y)

    The numbers of channels may differ. If the maps (or sequences) differ in size, the larger one is
    average-pooled to the size of the smaller one.

    Args:
        teacher_tap: A layer of the teacher.
        student_tap: A layer of the student.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1; the paper uses 50.
        name: Name in the history. Defaults to `"neuron_selectivity"`.

    Raises:
        ValueError: If a tap is missing or is not a map or sequence of known size.

    Example:
        >>> kd.losses.NeuronSelectivity("block3_out", "stage2_relu", weight=50.0)

    Reference:
        Huang and Wang 2017, arXiv:1707.01219, equation 8 with the polynomial kernel.
    """

    by_position = True

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the discrepancy of each sample, (batch,)."""
        teacher, student = match_sizes(teacher, student)
        teacher, student = _points(teacher), _points(student)
        if _few_positions(teacher.shape, student.shape):
            # The mean kernel is the inner product of the second moments: the smaller matrices.
            difference = _half_moment(student) - _half_moment(teacher)
            values = _squares(difference)
            return 2.0 * values - ops.stop_gradient(values)
        return (
            _mean_kernel(teacher, teacher)
            + _mean_kernel(student, student)
            - 2.0 * _mean_kernel(teacher, student)
        )


def _points(features: Any) -> Any:
    """Return (batch, positions, channels) with L2-normalized channels."""
    channels, sizes = features.shape[-1], features.shape[1:-1]
    if len(sizes) > 1:
        count = -1 if None in sizes else math.prod(sizes)
        features = ops.reshape(features, (ops.shape(features)[0], count, channels))
    return l2_normalize(features, axis=1)


def _few_positions(teacher: tuple[int | None, ...], student: tuple[int | None, ...]) -> bool:
    """Return whether products over positions need fewer operations than over channels."""
    positions, t, s = teacher[1], teacher[2], student[2]
    return positions is not None and positions * (t + s) <= t * t + s * s + t * s


def _half_moment(points: Any) -> Any:
    """Compute the second moment with half of its gradient; the caller doubles it."""
    constant = ops.transpose(ops.stop_gradient(points), (0, 2, 1))
    return ops.matmul(points, constant) / points.shape[-1]


def _mean_kernel(x: Any, y: Any) -> Any:
    products = ops.matmul(ops.transpose(x, (0, 2, 1)), y)
    return _squares(products) / (x.shape[-1] * y.shape[-1])


def _squares(matrices: Any) -> Any:
    return ops.sum(ops.square(matrices), axis=(1, 2))
