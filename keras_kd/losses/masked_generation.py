"""Masked generative distillation (MGD), for dense prediction."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.map_loss import MapLoss
from keras_kd.losses.masked_generator import MASKS, MaskedGenerator


@keras.saving.register_keras_serializable(package="keras_kd")
class MaskedGeneration(MapLoss):
    """Squared difference between the teacher's map and one generated from a part of the student's.

    With M a random mask of the student's map s and G two trained 3×3 convolutions with a ReLU
    between them, the loss of a sample is the sum over positions and channels

        Σ (G(M · s) − t)²

    A new mask is drawn for each sample and step; kept values are not rescaled. The generator, its
    random state and a projector where the shapes differ belong to checkpoints, but not to the
    student. An evaluation draws the same masks for every batch. The value of a position is its
    share times the number of positions, so that the mean is the sum.

    Called directly, the loss takes a map that was generated.

    Args:
        teacher_tap: A layer of the teacher. Defaults to `None`, the output.
        student_tap: A layer of the student. Defaults to `None`, the output.
        ratio: Share of the map that is set to zero, in [0, 1). Defaults to 0.65, for one-stage
            detectors; the paper uses 0.75 for segmentation and 0.15 of the channels for classes.
        mask: `"positions"`, or `"channels"` for whole channels, as for classification. Defaults to
            `"positions"`.
        projector: As for `Hint`; applied before the mask. Defaults to `"auto"`.
        skip_unlabeled: As for `ChannelWise`. Defaults to `False`.
        seed: Random seed of the masks. Defaults to `None`, taken from
            `keras.utils.set_random_seed`.
        weight: Weight in the total loss, a hyperparameter, the paper's alpha. Defaults to 2e-5, for
            detection and segmentation; the paper uses 7e-5 for classes.
        name: Name in the history. Defaults to `"masked_generation"`.

    Raises:
        ValueError: If a tap is not a map, no projector maps one shape to the other, or an argument
            is unknown or out of range.

    Example:
        >>> kd.losses.MaskedGeneration("fpn_p3", "fpn_p3")
        >>> kd.losses.MaskedGeneration("conv5", "conv4", ratio=0.15, mask="channels", weight=7e-5)

    Reference:
        Yang et al. 2022, arXiv:2205.01529, section 3.
    """

    def __init__(
        self,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        ratio: float = 0.65,
        mask: str = "positions",
        projector: str | keras.layers.Layer | None = "auto",
        skip_unlabeled: bool = False,
        seed: int | None = None,
        weight: float = 2e-5,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_tap, student_tap, projector, skip_unlabeled, weight, name)
        if not 0 <= ratio < 1:
            raise ValueError(
                f"MaskedGeneration: `ratio` must be in [0, 1). Received: ratio={ratio!r}"
            )
        if mask not in MASKS:
            raise ValueError(
                f"MaskedGeneration: `mask` must be one of {MASKS}. Received: mask={mask!r}"
            )
        self.ratio = float(ratio)
        self.mask = mask
        self.seed = seed

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> keras.layers.Layer:
        """Create the generator for one teacher; see the base class."""
        if {len(teacher_shape), len(student_shape)} != {4}:
            raise ValueError(
                "MaskedGeneration compares maps (batch, height, width, channels). Received: "
                f"teacher_tap={self.teacher_tap!r} of shape {teacher_shape}, "
                f"student_tap={self.student_tap!r} of shape {student_shape}. Choose other taps; "
                "kd.taps(model) lists them."
            )
        align = super().make_projector(teacher_shape, student_shape)
        how = self.ratio, self.mask, self.seed
        return MaskedGenerator(align, teacher_shape[-1], *how, name=f"{self.name}_generator")

    def compare(
        self, projector: keras.layers.Layer | None, teacher: Any, student: Any, labels: Any = None
    ) -> Any:
        """Generate the teacher's map with a mask of this step and compute the loss."""
        return self(teacher, projector(student, training=self.updates_state), labels)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the squared difference of each position, summed over the channels, scaled."""
        counted = self.counted_positions(labels, student)
        values = ops.sum(ops.square(student - teacher), axis=-1)
        if counted is not None:
            values = ops.where(counted, values, 0.0)
        height, width = ops.shape(values)[1:3]
        return values * ops.cast(height * width, values.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "mask": self.mask,
            "seed": self.seed,
        }
