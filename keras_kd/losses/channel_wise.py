"""Channel-wise knowledge distillation (CWD), for dense prediction."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.map_loss import MapLoss
from keras_kd.training.hyperparameters import Hyperparameter


@keras.saving.register_keras_serializable(package="keras_kd")
class ChannelWise(MapLoss):
    """Divergence between the distributions over the positions of each channel.

    With p_c and q_c the teacher's and the student's softmax over the positions of channel c at
    temperature T:

        T² · mean_c KL(p_c ‖ q_c)

    The sum runs over the positions of a sample, so that the student learns where each channel (of
    the logits: each class) is active. Without taps it compares the logits of the outputs. If two
    taps differ in shape, a projector is trained, as for `Hint`.

    Args:
        teacher_tap: A layer of the teacher. Defaults to `None`, the output.
        student_tap: A layer of the student. Defaults to `None`, the output.
        temperature: T, a hyperparameter. Defaults to 4, as in the paper.
        projector: As for `Hint`. Defaults to `"auto"`.
        skip_unlabeled: Whether positions without a label (void pixels: -1, NaN or the
            `ignore_class` of the compiled loss) do not count. Labels of another size are read at
            the center of each position. Defaults to `False`.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1; the paper uses 3 for
            logits and 50 for features.
        name: Name in the history. Defaults to `"channel_wise"`.

    Raises:
        ValueError: If a tap is not a map or sequence, no projector maps one shape to the other, or
            a hyperparameter is out of range.

    Example:
        >>> kd.losses.ChannelWise(temperature=4.0, weight=3.0)  # logits of a segmentation
        >>> kd.losses.ChannelWise("block3_out", "stage2_relu", weight=50.0)

    Reference:
        Shu et al. 2021, arXiv:2011.13256, section 3.2.
    """

    temperature = Hyperparameter(exclusive=True)

    def __init__(
        self,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        temperature: float = 4.0,
        projector: str | keras.layers.Layer | None = "auto",
        skip_unlabeled: bool = False,
        weight: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_tap, student_tap, projector, skip_unlabeled, weight, name)
        self.temperature = temperature
        self.on_logits = teacher_tap is None and student_tap is None

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> keras.layers.Layer | None:
        """Create the projector for one teacher, none for logits; see the base class."""
        if self.on_logits and len(teacher_shape) > 2:
            return DistillationLoss.make_projector(self, teacher_shape, student_shape)
        return super().make_projector(teacher_shape, student_shape)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the mean divergence over the channels of each sample, (batch,)."""
        temperature = ops.cast(self.temperature, student.dtype)
        counted = self.counted_positions(labels, student)
        log_p, log_q = (_log_softmax(x / temperature, counted) for x in (teacher, student))
        divergence = ops.sum(ops.exp(log_p) * (log_p - log_q), axis=1)
        return ops.mean(divergence, axis=-1) * temperature**2

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "temperature": float(self.temperature)}


def _log_softmax(x: Any, counted: Any) -> Any:
    """Compute the log-softmax over the counted positions, (batch, positions, channels)."""
    if counted is not None:
        x = ops.where(ops.expand_dims(counted, -1), x, ops.full_like(x, -1e30))
    return ops.log_softmax(ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1])), axis=1)
