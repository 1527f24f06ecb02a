"""The base class of losses that compare feature maps channel by channel, for dense prediction."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.feature_loss import FeatureLoss
from keras_kd.losses.projector import as_projector_argument, make_tap_projector
from keras_kd.training.labels import class_indices


class MapLoss(FeatureLoss):
    """A loss on two maps with a projector where they differ, and without the unlabeled positions.

    Subclasses override `call`.

    Args:
        teacher_tap: A layer of the teacher. Defaults to `None`, the output.
        student_tap: A layer of the student. Defaults to `None`, the output.
        projector: As for `Hint`. Defaults to `"auto"`.
        skip_unlabeled: Whether positions without a label do not count. Defaults to `False`.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        name: Name in the history. Defaults to the class name in snake case.

    Raises:
        ValueError: If an argument is unknown, or no projector maps one shape to the other.

    Example:
        >>> class MeanMap(MapLoss):
        ...     def call(self, teacher, student, labels=None):
        ...         return keras.ops.mean(keras.ops.square(teacher - student), axis=-1)
    """

    by_position = True
    # Labels of other tasks are not labels of positions.
    reads_classes = True

    def __init__(
        self,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        projector: str | keras.layers.Layer | None = "auto",
        skip_unlabeled: bool = False,
        weight: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_tap, student_tap, weight, name)
        self.projector = as_projector_argument(projector, type(self).__name__)
        self.skip_unlabeled = bool(skip_unlabeled)
        self.needs_labels = self.skip_unlabeled

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> keras.layers.Layer | None:
        """Create the projector for one teacher; see the base class."""
        if min(len(teacher_shape), len(student_shape)) < 3:
            super().make_projector(teacher_shape, student_shape)  # Raises.
        taps = (self.teacher_tap, teacher_shape), (self.student_tap, student_shape)
        owner, name = type(self).__name__, f"{self.name}_projector"
        return make_tap_projector(owner, self.projector, *taps, name)

    def counted_positions(self, labels: Any, student: Any) -> Any:
        """Return which positions of the student's map count.

        Labels of another size than the map are read at the center of each position.

        Args:
            labels: Integers (batch, ...) or one-hot (batch, ..., classes).
            student: The student's map, (batch, ..., channels).

        Returns:
            Boolean (batch, ...), or `None` if all positions count.

        Raises:
            ValueError: If the labels are not those of positions.
        """
        if not self.skip_unlabeled:
            return None
        rank = len(student.shape)
        if len(labels.shape) not in (rank - 1, rank):
            raise ValueError(
                f"{type(self).__name__}: skip_unlabeled=True needs a label for each position of "
                f"the map of shape {tuple(student.shape)}. Received: labels of shape "
                f"{tuple(labels.shape)}"
            )
        classes = labels.shape[-1] if len(labels.shape) == rank else None
        known = class_indices(labels, (*[None] * (rank - 1), classes)) >= 0
        for axis in range(1, rank - 1):
            known = _resize(known, axis, ops.shape(student)[axis])
        return known

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "projector": self.projector,
            "skip_unlabeled": self.skip_unlabeled,
        }


def _resize(known: Any, axis: int, size: Any) -> Any:
    """Resize along one axis to the value that is nearest to the center of each position."""
    length = ops.shape(known)[axis]
    if isinstance(length, int) and isinstance(size, int) and length == size:
        return known
    centers = (2 * ops.arange(size, dtype="int32") + 1) * length // (2 * size)
    return ops.take(known, centers, axis=axis)
