"""Attention-map hints between transformers (TinyBERT)."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.losses.feature_loss import FeatureLoss
from keras_kd.models.keras_compat import get_mask


@keras.saving.register_keras_serializable(package="keras_kd")
class AttentionScores(FeatureLoss):
    """Squared difference of the attention of each query, summed over the keys.

    With A the attention scores of a layer, (batch, heads, queries, keys):

        mean over heads and queries of Σ_k (A^t − A^s)²

    Masked queries and keys do not count, so padding changes nothing. A tap reaches the scores where
    the model itself calls a `keras.layers.MultiHeadAttention` with `return_attention_scores=True`:
    they are its second tensor, `"attention:1"`. Within a layer, such as the transformer blocks of
    KerasHub, no tap does. For the hidden states use `Hint`.

    TinyBERT compares scores before the softmax, which no layer of Keras returns, and takes the mean
    over the keys, which depends on the padding.

    Args:
        teacher_tap: The attention scores of the teacher.
        student_tap: The attention scores of the student.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        name: Name in the history. Defaults to `"attention_scores"`.

    Raises:
        ValueError: If the taps are no attention scores, or differ in heads or steps.

    Example:
        >>> kd.losses.AttentionScores("attention_4:1", "attention_2:1")

    Reference:
        Jiao et al. 2020, arXiv:1909.10351, section 3.1.
    """

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> None:
        """Check the shapes."""
        self._check(teacher_shape, student_shape)

    def _check(self, teacher_shape: tuple, student_shape: tuple) -> None:
        if len(student_shape) != 4 or not shapes_agree(teacher_shape, student_shape):
            raise ValueError(
                "AttentionScores compares the scores of equally many heads and steps, (batch, "
                f"heads, queries, keys). Received: teacher_tap={self.teacher_tap!r} of shape "
                f"{teacher_shape}, student_tap={self.student_tap!r} of shape {student_shape}. Tap "
                "the second tensor of a layer that is called with return_attention_scores=True."
            )

    def reject_masks(self, student: Any) -> None:
        """Accept masked steps: they do not count."""

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the mean squared difference of each sample, (batch,)."""
        self._check(tuple(teacher.shape), tuple(student.shape))
        squares, mask = ops.square(teacher - student), get_mask(student)
        if mask is None:
            return ops.mean(ops.sum(squares, axis=-1), axis=(1, 2))
        if len(mask.shape) != 4:  # A mask of the queries.
            mask = ops.reshape(mask, (ops.shape(mask)[0], 1, -1, 1))
        counted = ops.broadcast_to(mask, ops.shape(squares))
        sums = ops.sum(ops.where(counted, squares, 0.0), axis=(1, 2, 3))
        queries = ops.sum(ops.cast(ops.any(counted, axis=-1), sums.dtype), axis=(1, 2))
        return sums / ops.maximum(queries, 1.0)
