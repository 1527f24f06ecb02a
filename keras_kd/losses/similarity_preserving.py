"""Similarity-preserving knowledge distillation (SP)."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.feature_loss import FeatureLoss
from keras_kd.losses.numerics import flatten_samples, gram_matrix, l2_normalize


@keras.saving.register_keras_serializable(package="keras_kd")
class SimilarityPreserving(FeatureLoss):
    """Squared difference of the similarities between the samples of a batch.

    With F the features, one row for each of b samples, and G = F Fᵀ with L2-normalized rows, a
    sample's share is

        1/b · Σ_j (G^t_ij − G^s_ij)²,  so that the mean is ‖G^t − G^s‖² / b²

    The taps may have any shapes. A single sample has loss 0.

    Args:
        teacher_tap: A layer of the teacher. Defaults to `None`, the output.
        student_tap: A layer of the student. Defaults to `None`, the output.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1; the paper's code uses
            3000.
        name: Name in the history. Defaults to `"similarity_preserving"`.

    Raises:
        ValueError: If a tap has no feature axis.

    Example:
        >>> kd.losses.SimilarityPreserving("block3_out", "stage2_relu", weight=3000.0)

    Reference:
        Tung and Mori 2019, arXiv:1907.09682, equation 4.
    """

    relates_samples = True

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute each sample's share of the squared difference, (batch,)."""
        difference = _similarities(teacher) - _similarities(student)
        values = ops.mean(ops.square(difference), axis=-1)
        # A single sample has similarity 1 with itself, except a zero one.
        return values * ops.cast(ops.shape(values)[0] > 1, values.dtype)


def _similarities(features: Any) -> Any:
    return l2_normalize(gram_matrix(flatten_samples(features)))
