"""Embedding heads and memory bank of a contrastive loss."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.numerics import flatten_samples, l2_normalize

# The class of an empty slot of the bank.
_EMPTY = -2


class EmbeddingHeads(keras.layers.Layer):
    """Two dense heads to unit vectors, and a queue of the last embeddings with their classes.

    Args:
        teacher_shape: Shape of the teacher's tap.
        size: Size of the embeddings.
        bank_size: Number of stored embeddings.
        name: Name of the layer.
    """

    def __init__(
        self, teacher_shape: tuple[int | None, ...], size: int, bank_size: int, name: str
    ) -> None:
        super().__init__(name=name)
        self.teacher_shape = teacher_shape
        self.size = size
        self.bank_size = bank_size
        self.teacher_head = keras.layers.Dense(size, name="teacher_head")
        self.student_head = keras.layers.Dense(size, name="student_head")

    def build(self, student_shape: tuple[int | None, ...]) -> None:
        """Create the weights of both heads and an empty bank."""
        for head, shape in (
            (self.teacher_head, self.teacher_shape),
            (self.student_head, student_shape),
        ):
            head.build(ops.reshape(keras.KerasTensor((1, *shape[1:])), (1, -1)).shape)
        bank = {"trainable": False, "aggregation": "only_first_replica"}
        shape = (self.bank_size, self.size)
        self.teacher_bank = self.add_weight(shape, "zeros", name="teacher_bank", **bank)
        self.student_bank = self.add_weight(shape, "zeros", name="student_bank", **bank)
        self.classes = self.add_weight(
            (self.bank_size,),
            keras.initializers.Constant(_EMPTY),
            dtype="int32",
            name="classes",
            **bank,
        )
        self.built = True

    def call(self, taps: tuple[Any, Any]) -> tuple[Any, Any]:
        """Embed the teacher's and the student's tap, each (batch, size) in float32."""
        teacher, student = taps
        teacher, student = (
            self.teacher_head(flatten_samples(teacher)),
            self.student_head(flatten_samples(student)),
        )
        return l2_normalize(ops.cast(teacher, "float32")), l2_normalize(
            ops.cast(student, "float32")
        )

    def with_bank(self, teacher: Any, student: Any, classes: Any) -> tuple[Any, Any, Any]:
        """Return embeddings and classes of the batch, followed by those of the bank."""
        return (
            ops.concatenate([teacher, self.teacher_bank]),
            ops.concatenate([student, self.student_bank]),
            ops.concatenate([classes, self.classes]),
        )

    def store(self, teacher: Any, student: Any, classes: Any) -> None:
        """Store the first `bank_size` rows of the results of `with_bank`."""
        if self.bank_size:
            self.teacher_bank.assign(ops.stop_gradient(teacher[: self.bank_size]))
            self.student_bank.assign(ops.stop_gradient(student[: self.bank_size]))
            self.classes.assign(classes[: self.bank_size])
