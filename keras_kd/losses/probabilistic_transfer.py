"""Probabilistic knowledge transfer (PKT)."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.feature_loss import FeatureLoss
from keras_kd.losses.numerics import flatten_samples, gram_matrix, l2_normalize

# As in the paper's code: in the norm, and in both probabilities before the logarithm.
_EPSILON = 1e-7


@keras.saving.register_keras_serializable(package="keras_kd")
class ProbabilisticTransfer(FeatureLoss):
    """Divergence between the neighbor probabilities of the samples of a batch.

    With K_ij = ½ (cosine(x_i, x_j) + 1) over the b samples of a batch, and p and q the rows of the
    teacher's and the student's K divided by their sums, a sample's share is

        1/b · Σ_j p_ij · log((p_ij + 1e-7) / (q_ij + 1e-7))

    The taps may have any shapes. A single sample has loss 0.

    Args:
        teacher_tap: A layer of the teacher. Defaults to `None`, the output.
        student_tap: A layer of the student. Defaults to `None`, the output.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1; the reference code uses
            30000, because the values are small.
        name: Name in the history. Defaults to `"probabilistic_transfer"`.

    Raises:
        ValueError: If a tap has no feature axis.

    Example:
        >>> kd.losses.ProbabilisticTransfer("pooled", "features", weight=30000.0)

    Reference:
        Passalis and Tefas 2018, arXiv:1803.10837, equations 2 to 6 (cosine kernel).
    """

    relates_samples = True

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute each sample's share of the divergence, (batch,)."""
        p = _neighbor_probabilities(teacher)
        q = _neighbor_probabilities(student)
        return ops.mean(p * (ops.log(p + _EPSILON) - ops.log(q + _EPSILON)), axis=-1)


def _neighbor_probabilities(features: Any) -> Any:
    kernel = 0.5 * (gram_matrix(l2_normalize(flatten_samples(features), epsilon=_EPSILON)) + 1.0)
    return kernel / ops.sum(kernel, axis=-1, keepdims=True)
