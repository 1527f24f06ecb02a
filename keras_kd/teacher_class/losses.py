"""The loss of a Teacher-Class Network on a batch, and the running means in the history."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.losses import ChunkMimicry, DistillationLoss, SoftTargets
from keras_kd.losses import get as get_loss
from keras_kd.losses.reduction import mean_over_samples
from keras_kd.teacher_class.discriminators import Discriminators
from keras_kd.teacher_class.task_term import TaskTerm
from keras_kd.training import backend
from keras_kd.training.hyperparameters import hyperparameters
from keras_kd.training.loss_trackers import LossTrackers


class TeacherClassLosses:
    """The losses of all students on a batch.

    Args:
        mimicry: The loss between a chunk and its student's output.
        discriminators: The discriminators, or `None`.
        numbers: The number of each student.
        students: The students, whose own losses, such as regularization, are added.
        chunks: The units of each chunk.
        task_loss: The loss on the teacher's outputs, or `None`.

    Attributes:
        task: The task term, which `task_loss` needs before a batch; its head is the teacher's.
    """

    def __init__(
        self,
        mimicry: DistillationLoss,
        discriminators: Discriminators | None,
        numbers: Sequence[int],
        students: Sequence[keras.Model],
        chunks: Sequence[Sequence[int]],
        task_loss: SoftTargets | None,
    ) -> None:
        self.mimicry = mimicry
        self.task_loss = task_loss
        self.task: TaskTerm | None = None
        self.chunks = chunks
        self.discriminators = discriminators
        self.numbers = list(numbers)
        self.students = list(students)
        self.trackers = LossTrackers(self.names())

    def take_chunks(self, values: Any) -> list[Any]:
        """Return the targets of the students, of the teacher's representation."""
        return [ops.take(values, self.chunks[number], axis=-1) for number in self.numbers]

    def total(
        self,
        values: Any,
        outputs: Sequence[Any],
        weights: Any,
        size: Any,
        training: bool,
    ) -> Any:
        """Compute the loss of a batch, and update the running means.

        Args:
            values: The teacher's representation.
            outputs: The outputs of the students.
            weights: Sample weights (batch, ...), or `None`.
            size: Number of samples, under `tf.distribute` those of this replica.
            training: Whether to add the adversarial losses.
        """
        share, average = backend.replica_share(size)
        terms, batch = [], {}
        chunks = self.take_chunks(values)
        for number, chunk, output in zip(self.numbers, chunks, outputs, strict=True):
            mean = mean_over_samples(self.mimicry(chunk, output), weights)
            batch[f"student_{number}"] = (mean, size)
            terms.append(mean * ops.cast(self.mimicry.weight, mean.dtype))
        for number, mean in self._task_means(values, outputs, weights):
            batch[f"task_{number}"] = (mean, size)
            terms.append(mean * ops.cast(self.task.loss.weight, mean.dtype))
        if training and self.discriminators is not None:
            for i, (number, output) in enumerate(zip(self.numbers, outputs, strict=True)):
                mean = mean_over_samples(self.discriminators.adversarial_loss(i, output), weights)
                batch[f"adversarial_{number}"] = (mean, size)
                terms.append(mean * ops.cast(self.discriminators.weight, mean.dtype))
        terms = [backend.per_replica(term, share) for term in terms]
        penalties = [penalty for student in self.students for penalty in student.losses]
        terms += [backend.per_replica(ops.sum(penalty)) for penalty in penalties]
        loss = ops.sum(terms)
        self.trackers.update({**batch, "loss": (backend.global_mean(loss), average)})
        return loss

    def _task_means(
        self, values: Any, outputs: Sequence[Any], weights: Any
    ) -> list[tuple[int, Any]]:
        """Return the number of each student and its mean loss on the teacher's outputs."""
        if self.task is None:
            return []
        targets = self.task.targets(values, outputs)
        return [
            (number, mean_over_samples(self.task(values, output, units, targets), weights))
            for number, output in zip(self.numbers, outputs, strict=True)
            for units in [self.chunks[number]]
        ]

    def train_discriminators(
        self, values: Any, outputs: Sequence[Any], weights: Any, size: Any
    ) -> None:
        """Train the discriminators, if any, for one step; the arguments are those of `total`."""
        if self.discriminators is None:
            return
        losses = self.discriminators.train_step(
            self.take_chunks(values), outputs, weights, backend.replica_share(size)[0]
        )
        pairs = zip(self.numbers, losses, strict=True)
        self.trackers.update({f"discriminator_{number}": (value, size) for number, value in pairs})

    @property
    def hyperparameters(self) -> list[keras.Variable]:
        """The weights of the losses."""
        parts = [self.mimicry, self.task_loss, self.discriminators]
        parts = [part for part in parts if part is not None]
        return [variable for part in parts for variable in hyperparameters(part).values()]

    def results(self, training: bool) -> dict[str, Any]:
        """Return the running means by name."""
        return self.trackers.results(self.names(training))

    def names(self, training: bool = True) -> list[str]:
        """Return the names in the history."""
        parts = ["student"] if self.task_loss is None else ["student", "task"]
        if training and self.discriminators is not None:
            parts += ["adversarial", "discriminator"]
        return ["loss", *(f"{part}_{number}" for part in parts for number in self.numbers)]


def get_mimicry_loss(loss: str | DistillationLoss | None) -> DistillationLoss:
    """Return the loss between a chunk and its student's output.

    Raises:
        ValueError: If it needs labels or classes.
    """
    loss = ChunkMimicry() if loss is None else get_loss(loss)
    if loss.needs_labels or loss.tasks == ("classes",):
        raise ValueError(
            "TeacherClass: `loss` must compare hidden units without labels or classes, like "
            f"ChunkMimicry. Received: {type(loss).__name__}"
        )
    return loss


def require_no_compiled_loss(config: dict[str, Any] | None) -> None:
    """Reject a loss or metrics among the arguments of `compile`.

    Raises:
        ValueError: If there are any.
    """
    names = [name for name in ("loss", "metrics", "weighted_metrics") if (config or {}).get(name)]
    if names:
        raise ValueError(
            "TeacherClass learns from the teacher only: pass `compile` an optimizer, and the loss "
            f"to TeacherClass. Received: {', '.join(names)} in `compile`"
        )


def labels_or_zeros(y: Any, sample_weight: Any = None, **_: Any) -> Any:
    """Return y, or zeros for weighted samples without labels: Keras would drop the weights."""
    return np.zeros(len(sample_weight)) if y is None and sample_weight is not None else y
