"""Feature distillation by Pearson's correlation (PKD), for dense prediction."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.map_loss import MapLoss
from keras_kd.losses.numerics import center, l2_normalize

# As in the paper's code, added to the standard deviation.
_EPSILON = 1e-6


@keras.saving.register_keras_serializable(package="keras_kd")
class PearsonFeatures(MapLoss):
    """Half the mean squared difference of maps whose channels are standardized.

    With t̂ and ŝ the maps of which each channel has mean 0 and standard deviation 1 over the batch
    and the positions, and r_c the correlation of channel c:

        ½ · mean (ŝ − t̂)² = (m − 1)/m · mean_c (1 − r_c),  m the number of values of a channel

    so the loss ignores the scale of the features, in which detectors differ. Each sample gets its
    share. A constant channel becomes zero. Under `tf.distribute` the statistics are those of a
    replica's part of the batch. If two taps differ in shape, a projector is trained, as for `Hint`.

    Args:
        teacher_tap: A layer of the teacher. Defaults to `None`, the output.
        student_tap: A layer of the student. Defaults to `None`, the output.
        projector: As for `Hint`. Defaults to `"auto"`.
        skip_unlabeled: As for `ChannelWise`. Defaults to `False`.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        name: Name in the history. Defaults to `"pearson_features"`.

    Raises:
        ValueError: If a tap is not a map or sequence, or no projector maps one shape to the other.

    Example:
        >>> kd.losses.PearsonFeatures("fpn_p3", "fpn_p3", weight=6.0)

    Reference:
        Cao et al. 2022, arXiv:2207.02039, section 3. The standard deviation is unbiased,
        and 1e-6 is added to it, as in the authors' code.
    """

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute each sample's share of the mean squared difference, (batch,)."""
        batch, channels = ops.shape(student)[0], student.shape[-1]
        counted = self.counted_positions(labels, student)
        if counted is None:
            total = ops.cast(ops.size(student) // channels, student.dtype)
        else:
            counted = ops.reshape(counted, (-1, 1))
            total = ops.maximum(ops.sum(ops.cast(counted, student.dtype)), 1.0)
        rows = (ops.reshape(x, (-1, channels)) for x in (teacher, student))
        teacher, student = (_standardize(x, counted, total) for x in rows)
        squares = ops.mean(ops.square(teacher - student), axis=-1)
        sums = ops.sum(ops.reshape(squares, (batch, -1)), axis=-1)
        return 0.5 * sums * ops.cast(batch, sums.dtype) / total


def _standardize(rows: Any, counted: Any, total: Any) -> Any:
    """Standardize each column over the counted rows; the other rows become zero."""
    if counted is not None:
        sums = ops.sum(ops.where(counted, rows, 0.0), axis=0, keepdims=True)
        # With the mean in place of the other rows, the mean of all rows is that of the counted.
        rows = ops.where(counted, rows, sums / total)
    scale = ops.sqrt(total - 1.0)  # The norm of a column of standard deviation 1.
    return scale * l2_normalize(center(rows, axis=0), axis=0, epsilon=_EPSILON * scale)
