"""The base of the losses that compare hidden features without training anything for it."""

from typing import Any

import keras

from keras_kd.losses.distillation_loss import DistillationLoss


class FeatureLoss(DistillationLoss):
    """A loss on two hidden taps whose features may differ in number.

    Subclasses override `call`. No projector is made: what is compared (attention, similarities,
    distances) has the same shape on both sides.

    Args:
        teacher_tap: The place in the teacher. Defaults to `None`, the output.
        student_tap: The place in the student. Defaults to `None`, the output.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        name: Name in the history. Defaults to the class's name in snake case.

    Raises:
        ValueError: When the taps are no features that the loss can compare.

    Example:
        >>> class MeanActivation(FeatureLoss):
        ...     def call(self, teacher, student, labels=None):
        ...         return keras.ops.abs(keras.ops.mean(teacher, -1) - keras.ops.mean(student, -1))
    """

    on_logits = False
    #: Whether the axes between batch and channels are compared place by place.
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
        """Checks the shapes; there is no projector."""
        if not self._comparable(teacher_shape, student_shape):
            wanted = (
                "maps (batch, height, width, channels) or sequences (batch, time, features) on "
                "both sides, of sizes that are known"
                if self.by_position
                else "features (batch, ...)"
            )
            raise ValueError(
                f"{type(self).__name__} compares {wanted}. Received: teacher_tap="
                f"{self.teacher_tap!r} of shape {teacher_shape}, student_tap={self.student_tap!r} "
                f"of shape {student_shape}. Choose other taps: kd.taps(model) lists them."
            )
        return None

    def _comparable(self, teacher_shape: tuple[Any, ...], student_shape: tuple[Any, ...]) -> bool:
        ranks = len(teacher_shape), len(student_shape)
        if not self.by_position:
            return min(ranks) >= 2
        same = teacher_shape[1:-1] == student_shape[1:-1]
        known = None not in (*teacher_shape[1:-1], *student_shape[1:-1])
        return ranks[0] == ranks[1] >= 3 and (same or known)
