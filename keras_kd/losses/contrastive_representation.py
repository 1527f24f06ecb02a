"""Contrastive representation distillation (CRD)."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.embedding_heads import EmbeddingHeads
from keras_kd.losses.feature_loss import FeatureLoss
from keras_kd.losses.numerics import flatten_samples, l2_normalize
from keras_kd.training.hyperparameters import Hyperparameter
from keras_kd.training.labels import UNLABELED, class_indices


@keras.saving.register_keras_serializable(package="keras_kd")
class ContrastiveRepresentation(FeatureLoss):
    """Contrastive loss: identify the teacher's embedding of a sample among those of others.

    Trained linear heads map the features of both models to unit vectors t and s. With
    a_ij = s_i · t_j / temperature, N the number of negatives of sample i, Z the mean of exp(a) over
    all pairs and the critic h_ij = exp(a_ij) / (exp(a_ij) + N Z), the loss of sample i is

        −log h_ii − Σ_j log(1 − h_ij)

    summed over teacher embeddings as negatives and student embeddings as negatives. Negatives are
    the other samples of the batch and, when trained by `Distiller`, the last `bank_size`
    embeddings of both models (a memory bank). With labels, only samples of other classes are
    negatives, as in the paper; a sample without a label (-1) differs from all others, and so does
    each sample if the labels are not classes (several labels, numbers). A sample without negatives
    has loss 0. Unlike here, the paper draws negatives from the whole data set, which needs the
    index of each sample, and estimates Z on the first batch.

    Called directly, the loss takes embeddings of equal size and uses the batch's negatives only.

    Args:
        teacher_tap: A layer of the teacher, usually the last hidden one. Defaults to `None`.
        student_tap: A layer of the student. Defaults to `None`.
        embedding: Size of the embeddings. Defaults to 128.
        bank_size: Number of stored embeddings, 0 for none. Defaults to 1024.
        temperature: Temperature, a hyperparameter. Defaults to 0.07.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1; the paper uses 0.8.
        name: Name in the history. Defaults to `"contrastive_representation"`.

    Raises:
        ValueError: If a number is out of range, or the size of a tap is unknown.

    Example:
        >>> kd.losses.ContrastiveRepresentation("pooled", "features", weight=0.8)

    Reference:
        Tian, Krishnan and Isola 2020, arXiv:1910.10699, equations 17 to 19.
    """

    relates_samples = True
    reads_classes = True
    temperature = Hyperparameter(exclusive=True)

    def __init__(
        self,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        embedding: int = 128,
        bank_size: int = 1024,
        temperature: float = 0.07,
        weight: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_tap, student_tap, weight, name)
        if embedding < 1 or bank_size < 0:
            raise ValueError(
                "ContrastiveRepresentation: `embedding` must be at least 1 and `bank_size` at "
                f"least 0. Received: embedding={embedding!r}, bank_size={bank_size!r}"
            )
        self.embedding = embedding
        self.bank_size = bank_size
        self.temperature = temperature

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the loss of each sample with the batch as negatives, (batch,)."""
        classes = _classes(labels, ops.shape(student)[0])
        return self._contrast(teacher, student, classes, teacher, student, classes)

    def compare(
        self, projector: keras.layers.Layer | None, teacher: Any, student: Any, labels: Any = None
    ) -> Any:
        """Compute the loss with batch and bank as negatives, and store the embeddings."""
        self.reject_masks(student)
        teacher, student = projector((teacher, student))
        classes = _classes(labels, ops.shape(student)[0])
        pool = projector.with_bank(teacher, student, classes)
        values = self._contrast(teacher, student, classes, *pool)
        if self.updates_state:
            projector.store(*pool)
        return values

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> keras.layers.Layer:
        """Create the heads and the bank for one teacher."""
        super().make_projector(teacher_shape, student_shape)
        if None in (*teacher_shape[1:], *student_shape[1:]):
            raise ValueError(
                "ContrastiveRepresentation: the taps must be of known size for the dense heads. "
                f"Received: shapes {teacher_shape} and {student_shape}. Choose a layer after "
                "pooling."
            )
        return EmbeddingHeads(
            teacher_shape, self.embedding, self.bank_size, name=f"{self.name}_heads"
        )

    def _contrast(
        self, teacher: Any, student: Any, classes: Any, teachers: Any, students: Any, pool: Any
    ) -> Any:
        """Compute the loss of each sample of the batch, whose samples come first in the pool."""
        temperature = ops.cast(self.temperature, student.dtype)
        teacher, student = (
            l2_normalize(flatten_samples(ops.cast(teacher, student.dtype))),
            l2_normalize(flatten_samples(student)),
        )
        teachers, students = l2_normalize(ops.cast(teachers, student.dtype)), l2_normalize(students)
        negative = _negatives(classes, pool)
        positive = ops.sum(teacher * student, axis=-1) / temperature
        teacher_scores = ops.matmul(student, ops.transpose(teachers)) / temperature
        student_scores = ops.matmul(teacher, ops.transpose(students)) / temperature
        return _critic_loss(positive, teacher_scores, negative) + _critic_loss(
            positive, student_scores, negative
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "embedding": self.embedding,
            "bank_size": self.bank_size,
            "temperature": float(self.temperature),
        }


def _classes(labels: Any, batch: Any) -> Any:
    """Return the class of each sample, `UNLABELED` if it has no single label."""
    if labels is None or len(labels.shape) > 2:
        return ops.full((batch,), UNLABELED, dtype="int32")
    # The number of classes is the size of a one-hot row, not the size of the tap.
    return class_indices(labels, (None, labels.shape[-1] if len(labels.shape) == 2 else None))


def _negatives(classes: Any, pool: Any) -> Any:
    """Return which samples of the pool are negatives of each sample, boolean (batch, pool)."""
    batch, size = ops.shape(classes)[0], ops.shape(pool)[0]
    own, others = ops.expand_dims(classes, 1), ops.expand_dims(pool, 0)
    same_class = ops.logical_and(own == others, own != UNLABELED)
    itself = ops.expand_dims(ops.arange(batch), 1) == ops.expand_dims(ops.arange(size), 0)
    empty = others < UNLABELED
    return ops.logical_not(ops.logical_or(ops.logical_or(same_class, itself), empty))


def _critic_loss(positive: Any, scores: Any, negative: Any) -> Any:
    """Compute −log h of the positive score − Σ log(1 − h) over the negatives, (batch,)."""
    least = ops.full_like(scores, -1e30)
    count = ops.sum(ops.cast(negative, scores.dtype), axis=-1)
    pairs = ops.sum(count) + ops.cast(ops.shape(positive)[0], scores.dtype)
    log_sum = ops.logaddexp(
        ops.logsumexp(positive), ops.logsumexp(ops.where(negative, scores, least))
    )
    threshold = ops.stop_gradient(log_sum - ops.log(pairs) + ops.log(ops.maximum(count, 1.0)))
    rejected = ops.softplus(scores - ops.expand_dims(threshold, -1))
    rejected = ops.sum(ops.where(negative, rejected, ops.zeros_like(rejected)), axis=-1)
    values = ops.softplus(threshold - positive) + rejected
    return ops.where(count > 0, values, ops.zeros_like(values))
