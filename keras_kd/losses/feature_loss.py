"""The base class of feature losses without a projector."""

from typing import Any

import keras

from keras_kd.losses.distillation_loss import DistillationLoss


class FeatureLoss(DistillationLoss):
    """A loss on two hidden taps that may have different numbers of features.

    Subclasses override `call`. There is no projector: the compared quantities (attention,
    similarities, distances) have the same shape for both models.

    Args:
        teacher_tap: A layer of the teacher. Defaults to `None`, the output.
        student_tap: A layer of the student. Defaults to `None`, the output.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        name: Name in the history. Defaults to the class name in snake case.

    Raises:
        ValueError: If the shapes of the taps are not supported.

    Example:
        >>> class MeanActivation(FeatureLoss):
        ...     def call(self, teacher, student, labels=None):
        ...         return keras.ops.abs(keras.ops.mean(teacher, -1) - keras.ops.mean(student, -1))
    """

    on_logits = False
    #: Whether the loss compares maps or sequences position by position.
    by_position = False

    def __init__(
        self,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        weight: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> keras.layers.Layer | None:
        """Check the shapes and return `None`."""
        if not self._can_compare(teacher_shape, student_shape):
            expected = (
                "maps (batch, height, width, channels), volumes or sequences (batch, time, "
                "features) of known size"
                if self.by_position
                else "features (batch, ...)"
            )
            raise ValueError(
                f"{type(self).__name__} compares {expected}. Received: teacher_tap="
                f"{self.teacher_tap!r} of shape {teacher_shape}, student_tap={self.student_tap!r} "
                f"of shape {student_shape}. Choose other taps; kd.taps(model) lists them."
            )
        return None

    def _can_compare(self, teacher_shape: tuple[Any, ...], student_shape: tuple[Any, ...]) -> bool:
        ranks = len(teacher_shape), len(student_shape)
        if not self.by_position:
            return min(ranks) >= 2
        same = teacher_shape[1:-1] == student_shape[1:-1]
        known = None not in (*teacher_shape[1:-1], *student_shape[1:-1])
        return ranks[0] == ranks[1] >= 3 and (same or known)
