"""Labels first: the teacher joins later, if it is better than the student."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss, at_least_float32
from keras_kd.losses.label_error import label_error
from keras_kd.losses.wrapped_loss import WrappedLoss
from keras_kd.models.keras_compat import detach, get_mask, set_mask
from keras_kd.training import backend
from keras_kd.training.hyperparameters import Hyperparameter

#: Weight of the past in the moving averages of the errors: about the last 20 steps count.
_MOMENTUM = 0.95
#: The largest error of a teacher that joins, as a part of the student's. The student has just begun
#: to learn: with half, teachers join that are no better than the student is in the end.
_SHARE = 1 / 3
#: A student whose error is a smaller part of that in the first step may know the labels by heart.
_LEARNED = 0.1


class Measured(NamedTuple):
    """What was measured: averages over the last steps.

    Attributes:
        first: Error of the student in the first step.
        student: Error of the student.
        teacher: Error of the teacher.
        unlabeled: Share of the samples without a label.
    """

    first: float
    student: float
    teacher: float
    unlabeled: float


@keras.saving.register_keras_serializable(package="keras_kd")
class LabelsFirst(WrappedLoss):
    """A loss that starts after the first epochs, if the teacher is better than the student.

    A teacher that knows the labels no better than the student costs accuracy, whatever the loss.
    So the student learns from the labels alone in the first fifth of the epochs (at least one, at
    most two), while the errors of both on these labels are averaged over the last steps. The
    teacher teaches from then on, if its error is less than a third of the student's; otherwise it
    never does, and `fit` warns. The error is the cross-entropy on the labels, or the squared error
    for a regression.

    The teacher also joins where this comparison tells nothing: if some samples have no label, or if
    the student's error has fallen to a tenth of that in its first step, because it may know few
    labels by heart. A student that was trained before is not compared correctly: pass its loss
    without `LabelsFirst`.

    Of several teachers, the mean error counts, without their weights. Samples without a label
    (for a teacher of some classes also those of others) always learn from the teacher. A single
    epoch, training without labels and `train_on_batch` use the loss within from the start. The
    decision is kept in variables: it is in checkpoints, and a second `fit` trains on with it. In
    the history, the value of the loss is 0 for samples that the teacher does not teach.

    Args:
        loss: A loss on logits, its name or its configuration. Its taps are used, and its weight is
            the default of `weight`. Defaults to `"soft_targets"`.
        weight: Weight in the total loss, a hyperparameter. Defaults to the weight of `loss`.
        name: Name in the history. Defaults to `"labels_first"`.

    Raises:
        ValueError: If `loss` compares features, or keeps a state (`TAID`).

    Example:
        >>> loss = kd.losses.LabelsFirst(kd.losses.DIST(weight=0.5))
        >>> distiller = kd.Distiller(student, teacher, loss)
    """

    #: 1 while the teacher teaches, 0 while it does not.
    teaching = Hyperparameter(maximum=1.0)
    #: 1 while the student learns from the labels and the errors are measured.
    measuring = Hyperparameter(maximum=1.0)

    def __init__(
        self,
        loss: str | dict[str, Any] | DistillationLoss = "soft_targets",
        weight: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(loss, weight, name)
        self.tasks = self.loss.tasks
        self.task = self.tasks[0] if len(self.tasks) == 1 else None
        self.teaching = 1.0
        self.measuring = 0.0
        # Averages of the attributes of `Measured` and of 1, and the error in the first step.
        self.averages = _state((4,), "averages")
        self.first_error = _state((), "first_error")

    @property
    def is_decided(self) -> bool:
        """Whether the errors were measured, and the teacher teaches since, or never will."""
        return float(self.measuring) == 0 and self.measured is not None

    @property
    def measured(self) -> Measured | None:
        """What was measured, `None` before the first step."""
        student, teacher, unlabeled, one = _numbers(self.averages)
        if not one:
            return None
        first = _numbers(self.first_error)
        return Measured(first, student / one, teacher / one, unlabeled / one)

    def measure(self) -> None:
        """Let the student learn from the labels alone, and measure the errors."""
        self.measuring, self.teaching = 1.0, 0.0

    def decide(self) -> bool:
        """End the measurement; return whether the teacher teaches from now on."""
        found = self.measured
        joins = (
            found is None
            or found.unlabeled > 0
            or found.student <= _LEARNED * found.first
            or found.teacher < _SHARE * found.student
        )
        self.measuring, self.teaching = 0.0, float(joins)
        return joins

    def restart(self) -> None:
        """Forget the decision, for another teacher."""
        self.measuring, self.teaching = 0.0, 1.0
        for variable in (self.averages, self.first_error):
            variable.assign(np.zeros(variable.shape))

    def compare(
        self, projector: keras.layers.Layer | None, teacher: Any, student: Any, labels: Any = None
    ) -> Any:
        """Compute the loss where the teacher teaches, and measure; see the base class."""
        values = super().compare(projector, teacher, student, labels)
        if labels is None or self.task is None:
            return values
        student = at_least_float32(detach(student))
        # The masked steps are the student's.
        teacher = set_mask(ops.cast(teacher, student.dtype), get_mask(student))
        own, known = label_error(self.task, student, labels)
        unlabeled = 1 - ops.cast(known, values.dtype)
        if self.updates_state:
            self._measure(own, label_error(self.task, teacher, labels)[0], unlabeled)
        # Nobody else teaches a sample without a label, so a teacher that did not join does.
        return _scaled(values, ops.maximum(ops.cast(self.teaching, values.dtype), unlabeled))

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the loss within."""
        return self.loss.call(teacher, student, labels)

    def check_head(self, activation: str | None, shape: tuple[int | None, ...]) -> None:
        """Reject an output that the loss within cannot read; see the base class."""
        self.loss.check_head(activation, shape)

    def declared_task(self, units: int) -> str | None:
        """Return the task that the loss within declares; see the base class."""
        return self.loss.declared_task(units)

    def activation_of(self, units: int) -> str | None:
        """Return the activation that the loss within applies; see the base class."""
        return self.loss.activation_of(units)

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> keras.layers.Layer | None:
        """Check the shapes as the loss within does; see the base class."""
        return self.loss.make_projector(teacher_shape, student_shape)

    def set_task(self, task: str) -> None:
        """Tell both losses the task; see the base class."""
        super().set_task(task)
        self.task = task

    def _measure(self, own: Any, others: Any, unlabeled: Any) -> None:
        """Move the averages towards the means over a batch."""
        size = ops.shape(own)[0]
        share, _ = backend.replica_share(size)
        parts = (own, others, ops.cast(unlabeled, own.dtype), ops.ones_like(own))
        values = ops.stack([ops.sum(part) for part in parts])
        values = values / ops.cast(ops.maximum(size, 1), values.dtype)
        values = values if share is None else values * ops.cast(share, values.dtype)
        values = ops.cast(values, self.averages.dtype)
        measuring = ops.cast(self.measuring, values.dtype) > 0
        # The loss of such a batch is not finite either: it is raised, or the batch skipped.
        usable = ops.logical_and(measuring, ops.all(ops.isfinite(values)))
        averages, before = map(ops.convert_to_tensor, (self.averages, self.first_error))
        first = ops.logical_and(usable, averages[-1] == 0)
        # The mean over the replicas, each with its share, is that of the batch.
        self.first_error.assign(ops.where(first, values[0], before))
        moved = averages + (1 - _MOMENTUM) * (values - averages)
        self.averages.assign(ops.where(usable, moved, averages))


def _scaled(values: Any, weights: Any) -> Any:
    """Return values per sample or position times weights per sample, with their mask."""
    mask, missing = get_mask(values), len(values.shape) - 1
    values = values * ops.reshape(weights, (-1, *[1] * missing))
    return values if mask is None else set_mask(values, mask)


def _state(shape: tuple[int, ...], name: str) -> keras.Variable:
    how = {"trainable": False, "autocast": False, "aggregation": "mean"}
    return keras.Variable(np.zeros(shape), dtype=backend.FLOAT64, name=name, **how)


def _numbers(variable: Any) -> Any:
    return keras.ops.convert_to_numpy(variable).tolist()
