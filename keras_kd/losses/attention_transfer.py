"""Attention transfer between hidden layers."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.feature_loss import FeatureLoss
from keras_kd.losses.numerics import l2_normalize, match_sizes
from keras_kd.losses.reduction import mean_per_sample


@keras.saving.register_keras_serializable(package="keras_kd")
class AttentionTransfer(FeatureLoss):
    """Mean squared difference of the L2-normalized attention maps.

    The attention at a position is the mean of |feature|^p over the channels. With Q the attention
    map of a sample as a vector:

        mean over positions of (Q_t / ‖Q_t‖ − Q_s / ‖Q_s‖)²

    The numbers of channels may differ; there is no projector. If the maps (or sequences) differ in
    size, the larger one is average-pooled to the size of the smaller one.

    Args:
        teacher_tap: A layer of the teacher.
        student_tap: A layer of the student.
        p: Exponent, at least 1. Defaults to 2.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1; the paper uses 1000.
        name: Name in the history. Defaults to `"attention_transfer"`.

    Raises:
        ValueError: If a tap is missing or is not a map or sequence of known size.

    Example:
        >>> kd.losses.AttentionTransfer("block3_out", "stage2_relu", weight=1000.0)

    Reference:
        Zagoruyko and Komodakis 2017, arXiv:1612.03928, equation 2.
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
        """Compute the mean squared difference of each sample's maps, (batch,)."""
        teacher, student = match_sizes(teacher, student)
        return mean_per_sample(ops.square(self._attention(teacher) - self._attention(student)))

    def _attention(self, features: Any) -> Any:
        powers = ops.square(features) if self.p == 2 else ops.power(ops.abs(features), self.p)
        return l2_normalize(ops.reshape(ops.mean(powers, axis=-1), (ops.shape(features)[0], -1)))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "p": self.p}
