"""Mean squared error between a chunk of the teacher's representation and a student."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import mean_over_channels


@keras.saving.register_keras_serializable(package="keras_kd")
class ChunkMimicry(DistillationLoss):
    """Mean squared difference of a chunk and the output that mimics it: mean_u (t_u − s_u)².

    The default loss of `kd.TeacherClass`. Chunks have the shape (batch, units) or (batch, ...,
    channels), and the student's outputs have the same shape.

    Args:
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: In a `Distiller`: a layer of the teacher. Defaults to `None`, the output.
        student_tap: In a `Distiller`: a layer of the student. Defaults to `None`, the output.
        name: Name in the history. Defaults to `"chunk_mimicry"`.

    Raises:
        ValueError: If the shapes of the two taps differ.

    Example:
        >>> kd.losses.ChunkMimicry()(chunk, output).shape  # (batch,)

    Reference:
        Malik et al. 2020, arXiv:2004.03281, section 3.
    """

    on_logits = False

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the mean squared difference of each sample, or of each position."""
        return mean_over_channels(ops.square(teacher - student))
