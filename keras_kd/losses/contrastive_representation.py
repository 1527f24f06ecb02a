"""Contrastive representation distillation: teacher and student agree on which sample they see."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.feature_loss import FeatureLoss
from keras_kd.losses.memory_bank import EmbeddingHeads
from keras_kd.losses.numerics import rows, unit
from keras_kd.training.hyperparameters import Hyperparameter
from keras_kd.training.labels import UNLABELED, class_indices


@keras.saving.register_keras_serializable(package="keras_kd")
class ContrastiveRepresentation(FeatureLoss):
    """Telling the teacher's view of the same sample from its views of others, and the reverse.

    Features of both models go through trained linear heads to unit vectors t and s. With
    a_ij = s_i · t_j / temperature, N the number of negatives of sample i and Z the mean of exp a
    over all pairs at hand, a critic says h_ij = exp(a_ij) / (exp(a_ij) + N Z), and the value is

        −log h_ii − Σ_j log(1 − h_ij)

    once with the teacher's views and once with the student's as negatives. Negatives are the other
    samples of the batch and, in training through `Distiller`, the last `bank_size` embeddings of
    both models, kept in variables. With labels only samples of other classes are negatives, as in
    the paper; -1 is like no other. A sample without negatives gives 0. The paper draws its
    negatives from the whole data set instead, which needs the index of each sample, and estimates
    Z on the first batch alone.

    Called outside `Distiller`, the loss takes embeddings of one size and the batch's negatives.

    Args:
        teacher_tap: A layer of the teacher, usually the last hidden one. Defaults to `None`.
        student_tap: A layer of the student. Defaults to `None`.
        embedding: Size of the embeddings. Defaults to 128.
        bank_size: How many embeddings are remembered, 0 for none. Defaults to 1024.
        temperature: A hyperparameter. Defaults to 0.07.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1; the paper has 0.8.
        name: Name in the history. Defaults to `"contrastive_representation"`.

    Raises:
        ValueError: When a number is out of range or a tap has no features of known size.

    Example:
        >>> kd.losses.ContrastiveRepresentation("pooled", "features", weight=0.8)

    Reference:
        Tian, Krishnan and Isola 2020, arXiv:1910.10699, equations 17 to 19.
    """

    relates_samples = True
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
        """Computes the loss of each sample against the batch, (batch,)."""
        classes = _classes(labels, ops.shape(student)[0])
        return self._contrast(teacher, student, classes, teacher, student, classes)

    def compare(
        self, projector: keras.layers.Layer | None, teacher: Any, student: Any, labels: Any = None
    ) -> Any:
        """Embeds both taps, contrasts them with batch and bank, and remembers them."""
        teacher, student = projector((teacher, student))
        classes = _classes(labels, ops.shape(student)[0])
        pool = projector.with_bank(teacher, student, classes)
        values = self._contrast(teacher, student, classes, *pool)
        projector.remember(*pool)
        return values

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> keras.layers.Layer:
        """Makes the two heads and the bank for one teacher."""
        super().make_projector(teacher_shape, student_shape)
        if None in (*teacher_shape[1:], *student_shape[1:]):
            raise ValueError(
                "ContrastiveRepresentation: the taps must be of known size, since dense heads map "
                f"them to embeddings. Received: shapes {teacher_shape} and {student_shape}; "
                "choose a layer after pooling"
            )
        return EmbeddingHeads(
            teacher_shape, self.embedding, self.bank_size, name=f"{self.name}_heads"
        )

    def _contrast(
        self, teacher: Any, student: Any, classes: Any, teachers: Any, students: Any, pool: Any
    ) -> Any:
        """The loss of each sample of the batch, which stands first in the pool."""
        temperature = ops.cast(self.temperature, student.dtype)
        teacher, student = unit(rows(ops.cast(teacher, student.dtype))), unit(rows(student))
        teachers, students = unit(ops.cast(teachers, student.dtype)), unit(students)
        negative = _negatives(classes, pool)
        positive = ops.sum(teacher * student, axis=-1) / temperature
        among_teachers = ops.matmul(student, ops.transpose(teachers)) / temperature
        among_students = ops.matmul(teacher, ops.transpose(students)) / temperature
        return _telling_apart(positive, among_teachers, negative) + _telling_apart(
            positive, among_students, negative
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "embedding": self.embedding,
            "bank_size": self.bank_size,
            "temperature": float(self.temperature),
        }


def _classes(labels: Any, batch: Any) -> Any:
    """One integer for each sample; `UNLABELED` where there is no single label."""
    if labels is None or len(labels.shape) > 2:
        return ops.full((batch,), UNLABELED, dtype="int32")
    # The size of a one-hot row is its number of classes, whatever the tap's is.
    return class_indices(labels, (None, labels.shape[-1] if len(labels.shape) == 2 else None))


def _negatives(classes: Any, pool: Any) -> Any:
    """Which of the pool each sample is told apart from, as 0 or 1, (batch, pool)."""
    batch, size = ops.shape(classes)[0], ops.shape(pool)[0]
    own, others = ops.expand_dims(classes, 1), ops.expand_dims(pool, 0)
    same_class = ops.logical_and(own == others, own != UNLABELED)
    itself = ops.expand_dims(ops.arange(batch), 1) == ops.expand_dims(ops.arange(size), 0)
    empty = others < UNLABELED
    return ops.logical_not(ops.logical_or(ops.logical_or(same_class, itself), empty))


def _telling_apart(positive: Any, scores: Any, negative: Any) -> Any:
    """−log h of the own score − Σ log(1 − h) over the negatives, (batch,)."""
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
