"""The summary of a Teacher-Class Network."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_kd.distillers.summary import Part, print_summary
from keras_kd.losses import DistillationLoss, SoftTargets
from keras_kd.teacher_class.basis import Basis
from keras_kd.teacher_class.discriminators import Discriminators
from keras_kd.teacher_class.representation import Representation
from keras_kd.training import backend


class SummaryModel(backend.StepModel):
    """A model that consists of students, chunks of a teacher's layer and discriminators.

    Attributes:
        layer_name: The teacher's layer.
        chunks: The units of each chunk.
        students: The students.
        basis: The rotated basis of the representation, or `None`.
        stem: The model whose output the students receive, or `None`.
        numbers: The number of the chunk of each student.
        mimicry: The loss between a chunk and its student.
        task_loss: The loss on the teacher's outputs, or `None`.
        adversary: The discriminators, or `None`.
        representation: The teacher, or `None` if it is not set.
    """

    layer_name: str
    chunks: Sequence[Sequence[int]]
    students: Sequence[keras.Model]
    basis: Basis | None
    stem: keras.Model | None
    numbers: Sequence[int]
    mimicry: DistillationLoss
    task_loss: SoftTargets | None
    adversary: Discriminators | None
    representation: Representation | None

    def summary(self, print_fn: Callable[[str], None] = print, **kwargs: Any) -> None:
        """Print the teacher, the students with their chunks, and the losses.

        Args:
            print_fn: Called with each line. Defaults to `print`.
            **kwargs: Arguments of `keras.Model.summary`; if there are any, the table of each
                student is printed too.
        """
        adversary, known = self.adversary, self.representation
        teachers = {} if known is None else {known.teacher: self.layer_name}
        parts = [] if self.stem is None else [Part("stem", self.stem)]
        parts += [Part("student", student, "output") for student in self.students]
        if adversary is not None:
            parts += [Part("discriminator", model) for model in adversary.discriminators]
        losses = [
            (f"student_{n}", f"{len(self.chunks[n])} units -> output", _weight(self.mimicry))
            for n in self.numbers
        ]
        if self.task_loss is not None:
            losses += [
                (f"task_{n}", "teacher's outputs -> teacher's head", _weight(self.task_loss))
                for n in self.numbers
            ]
        if adversary is not None:
            losses += [
                (f"adversarial_{n}", "discriminator -> output", _weight(adversary))
                for n in self.numbers
            ]
        print_summary(self, teachers, parts, losses, print_fn)
        print_fn("Deployed: the students, connected by `assemble()`.")
        if kwargs:
            for student in self.students:
                student.summary(print_fn=print_fn, **kwargs)


def _weight(owner: Any) -> str:
    return f"{float(owner.weight):g}"
