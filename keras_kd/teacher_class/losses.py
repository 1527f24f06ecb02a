"""What a class of students is trained on: the loss of a batch, and the means the history shows."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_kd.losses import ChunkMimicry, DistillationLoss
from keras_kd.losses import get as get_loss
from keras_kd.losses.numerics import mean_over_samples
from keras_kd.teacher_class.discriminators import Adversary
from keras_kd.training.distribution import global_mean, per_replica, replica_share
from keras_kd.training.loss_trackers import LossTrackers


class ClassLosses:
    """The losses of a class on a batch.

    Args:
        mimicry: The loss on a chunk and what mimics it.
        adversary: The discriminators, or `None`.
        numbers: Number of each student.
    """

    def __init__(
        self, mimicry: DistillationLoss, adversary: Adversary | None, numbers: Sequence[int]
    ) -> None:
        self.mimicry = mimicry
        self.adversary = adversary
        self.numbers = list(numbers)
        self.trackers = LossTrackers(self.shown())

    def total(
        self,
        chunks: Sequence[Any],
        answers: Sequence[Any],
        weights: Any,
        penalties: Sequence[Any],
        size: Any,
        training: bool,
    ) -> Any:
        """The loss of a batch; notes its parts.

        Args:
            chunks: What each student is to mimic.
            answers: What each says.
            weights: Sample weights (batch,), or `None`.
            penalties: The students' own losses, such as those of regularisers.
            size: Samples of the batch, under `tf.distribute` those of this replica.
            training: Whether the students are led to deceive the discriminators too.

        Returns:
            A scalar, this replica's share.
        """
        share, average = replica_share(size)
        terms = []
        for number, chunk, answer in zip(self.numbers, chunks, answers, strict=True):
            mean = mean_over_samples(self.mimicry(chunk, answer), weights)
            terms.append(self._noted(f"student_{number}", mean, self.mimicry.weight, size))
        if training and self.adversary is not None:
            for i, (number, answer) in enumerate(zip(self.numbers, answers, strict=True)):
                mean = mean_over_samples(self.adversary.mistaken(i, answer), weights)
                terms.append(
                    self._noted(f"adversarial_{number}", mean, self.adversary.weight, size)
                )
        terms = [per_replica(term, share) for term in terms]
        terms += [per_replica(ops.sum(penalty)) for penalty in penalties]
        loss = ops.sum(terms)
        self.trackers.update("loss", global_mean(loss), average)
        return loss

    def learn(self, chunks: Sequence[Any], answers: Sequence[Any], weights: Any, size: Any) -> None:
        """One step of the discriminators, if there are any; the arguments are those of `total`."""
        if self.adversary is None:
            return
        losses = self.adversary.learn(chunks, answers, weights, replica_share(size)[0])
        for number, value in zip(self.numbers, losses, strict=True):
            self.trackers.update(f"discriminator_{number}", value, size)

    def results(self, training: bool) -> dict[str, Any]:
        """The means so far, by name."""
        return self.trackers.results(self.shown(training))

    def shown(self, training: bool = True) -> list[str]:
        """The names in the history."""
        parts = ["student"]
        if training and self.adversary is not None:
            parts += ["adversarial", "discriminator"]
        return ["loss", *(f"{part}_{number}" for part in parts for number in self.numbers)]

    def _noted(self, name: str, mean: Any, weight: Any, size: Any) -> Any:
        self.trackers.update(name, mean, size)
        return mean * ops.cast(weight, mean.dtype)


def loss_of(loss: str | DistillationLoss | None) -> DistillationLoss:
    """The loss on a chunk and what mimics it.

    Args:
        loss: As for `TeacherClass`.

    Returns:
        The loss; `ChunkMimicry()` for `None`.

    Raises:
        ValueError: When it is one on labels or classes.
    """
    loss = ChunkMimicry() if loss is None else get_loss(loss)
    if loss.needs_labels or loss.needs_classes:
        raise ValueError(
            "TeacherClass: the loss compares a chunk of hidden units with what mimics it, without "
            f"labels or classes, as ChunkMimicry does. Received: {type(loss).__name__}"
        )
    return loss
