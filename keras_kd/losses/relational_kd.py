"""Relational knowledge distillation (RKD)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.losses.feature_loss import FeatureLoss
from keras_kd.losses.numerics import flatten_samples, gram_matrix, smooth_l1
from keras_kd.training.hyperparameters import Hyperparameter

# The square of the smallest distance, as in the paper's code.
_MINIMUM = 1e-12


@keras.saving.register_keras_serializable(package="keras_kd")
class RelationalKD(FeatureLoss):
    """Smooth L1 differences of the distances and of the angles between the samples of a batch.

    Distances d are divided by their mean, an angle is the cosine at sample i between the directions
    to j and k, and ℓ is the smooth L1 difference of teacher and student:

        distance_weight · 1/b² Σ_ij ℓ(d_ij) + angle_weight · 1/b³ Σ_ijk ℓ(cos_ijk)

    Each sample gets its row i of both terms. All triplets of a large batch would cost more than the
    student's own step, so each sample uses the `angle_neighbours` samples that follow it in the
    batch. This is exact up to a batch size of `angle_neighbours` + 1 and an unbiased estimate for
    larger, shuffled batches. The taps may have any shapes. Equal samples have a distance of 1e-6;
    a single sample has loss 0.

    Args:
        teacher_tap: A layer of the teacher. Defaults to `None`, the output.
        student_tap: A layer of the student. Defaults to `None`, the output.
        distance_weight: Weight of the distances, a hyperparameter. Defaults to 25.
        angle_weight: Weight of the angles, a hyperparameter. Defaults to 50.
        angle_neighbours: Number of samples with which each sample forms angles, 2 or more, or
            `None` for all. Defaults to 16.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        name: Name in the history. Defaults to `"relational_kd"`.

    Raises:
        ValueError: If a tap has no feature axis, or a number is out of range.

    Example:
        >>> kd.losses.RelationalKD("pooled", "features")

    Reference:
        Park et al. 2019, arXiv:1904.05068, equations 4 to 8.
    """

    relates_samples = True
    distance_weight = Hyperparameter()
    angle_weight = Hyperparameter()

    def __init__(
        self,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        angle_neighbours: int | None = 16,
        weight: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_tap, student_tap, weight, name)
        if angle_neighbours is not None and angle_neighbours < 2:
            raise ValueError(
                "RelationalKD: `angle_neighbours` must be 2 or more, or None for all. "
                f"Received: angle_neighbours={angle_neighbours!r}"
            )
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight
        self.angle_neighbours = angle_neighbours

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute each sample's share of the differences, (batch,)."""
        teacher = _products(flatten_samples(teacher))
        student = _products(flatten_samples(student))
        distances = ops.mean(smooth_l1(_distances(teacher) - _distances(student)), axis=-1)
        values = distances * ops.cast(self.distance_weight, student.dtype)
        angles = self._angles(teacher, student)
        return values + angles * ops.cast(self.angle_weight, student.dtype)

    def _angles(self, teacher: Any, student: Any) -> Any:
        """Compute each sample's mean over all b² pairs (j, k) of the difference in its angles."""
        batch = ops.shape(student)[0]
        others = batch - 1
        count = others
        if self.angle_neighbours is not None:
            count = ops.minimum(others, self.angle_neighbours)
        steps = ops.arange(1, count + 1)
        difference = _cosines(teacher, steps) - _cosines(student, steps)
        total = ops.sum(smooth_l1(difference), axis=(1, 2))
        # Pairs with j = k or with the sample itself never differ, so they are not estimated.
        others, count = (ops.cast(x, student.dtype) for x in (others, count))
        share = others * (others - 1.0) / ops.maximum(count * (count - 1.0), 1.0)
        return total * share / (others + 1.0) ** 2

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "distance_weight": float(self.distance_weight),
            "angle_weight": float(self.angle_weight),
            "angle_neighbours": self.angle_neighbours,
        }


def _products(features: Any) -> Any:
    """Compute the inner products (batch, batch) of the features minus their mean."""
    # Distances and angles do not depend on the origin; near the samples, rounding is smaller.
    return gram_matrix(features - ops.stop_gradient(ops.mean(features, axis=0)))


def _distances(products: Any) -> Any:
    """Compute the distances (batch, batch) between the samples, divided by their mean."""
    squares = ops.diagonal(products)
    squared = ops.expand_dims(squares, 1) + squares - 2.0 * products
    count = ops.cast(ops.shape(products)[0], products.dtype)
    off_diagonal = 1.0 - ops.eye(ops.shape(products)[0], dtype=products.dtype)
    distances = ops.sqrt(ops.maximum(squared, _MINIMUM)) * off_diagonal
    mean = ops.sum(distances) / ops.maximum(count * (count - 1.0), 1.0)
    return distances / ops.where(mean > 0, mean, ops.ones_like(mean))


def _cosines(products: Any, steps: Any) -> Any:
    """Compute the cosines (batch, n, n) at each sample between the directions to the n next."""
    batch = ops.shape(products)[0]
    own = ops.arange(batch)
    others = (ops.expand_dims(own, 1) + steps) % batch
    flat = ops.reshape(products, (-1,))
    pairs = ops.expand_dims(others, 2) * batch + ops.expand_dims(others, 1)
    between = ops.take(flat, pairs)
    to_own = ops.take(flat, ops.expand_dims(own * batch, 1) + others)
    squares = ops.diagonal(products)
    # (x_j − x_i)·(x_k − x_i) from the products of the three; its diagonal has the lengths.
    shifted = to_own - 0.5 * ops.expand_dims(squares, 1)
    between = between - ops.expand_dims(shifted, 1) - ops.expand_dims(shifted, 2)
    lengths = ops.diagonal(between, axis1=1, axis2=2)
    # Samples whose difference is a rounding error have no direction.
    rounding = 10 * np.finfo(keras.backend.standardize_dtype(products.dtype)).eps
    distinct = lengths > rounding * (ops.expand_dims(squares, 1) + ops.take(squares, others))
    scales = ops.where(distinct, ops.rsqrt(ops.where(distinct, lengths, 1.0)), 0.0)
    return between * ops.expand_dims(scales, 1) * ops.expand_dims(scales, 2)
