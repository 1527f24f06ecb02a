"""Attention transfer: the student looks where the teacher looks."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import mean_per_sample
from keras_kd.losses.feature_loss import FeatureLoss
from keras_kd.losses.numerics import same_positions, unit


@keras.saving.register_keras_serializable(package="keras_kd")
class AttentionTransfer(FeatureLoss):
    """Mean squared difference of the attention maps, each scaled to length 1.

    The attention at a position is the mean over the channels of |feature|^p; Q is the map of a
    sample as one vector:

        mean over positions of (Q_t / ‖Q_t‖ − Q_s / ‖Q_s‖)²

    Channels may differ in number, and nothing is trained beside the student. Where the maps (or
    sequences) differ in size, the larger is averaged to the size of the smaller. A map of zeros
    stays zero.

    Args:
        teacher_tap: A layer of the teacher.
        student_tap: A layer of the student.
        p: The exponent, at least 1. Defaults to 2.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1; the paper has 1000.
        name: Name in the history. Defaults to `"attention_transfer"`.

    Raises:
        ValueError: When a tap is missing or is no map or sequence of known size.

    Example:
        >>> kd.losses.AttentionTransfer("block3_out", "stage2_relu", weight=1000.0)

    Reference:
        Zagoruyko and Komodakis 2017, arXiv:1612.03928, equation 2. Golden: `at_p2`.
    """

    by_position = True

    def __init__(
        self,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        p: float = 2.0,
        weight: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_tap, student_tap, weight, name)
        if not p >= 1:
            raise ValueError(f"AttentionTransfer: `p` must be at least 1. Received: p={p!r}")
        self.p = float(p)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Computes the mean squared difference of each sample's maps, (batch,)."""
        teacher, student = same_positions(ops.cast(teacher, student.dtype), student)
        return mean_per_sample(ops.square(self._attention(teacher) - self._attention(student)))

    def _attention(self, features: Any) -> Any:
        powers = ops.square(features) if self.p == 2 else ops.power(ops.abs(features), self.p)
        return unit(ops.reshape(ops.mean(powers, axis=-1), (ops.shape(features)[0], -1)))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "p": self.p}
