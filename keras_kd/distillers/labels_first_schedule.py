"""When the teachers of `kd.losses.LabelsFirst` join."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.distillers.fit import list_callbacks
from keras_kd.losses import LabelsFirst
from keras_kd.models.user_warnings import warn_user


def with_labels_first(model: Any, arguments: dict[str, Any]) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a `fit`, with the one that losses `LabelsFirst` need.

    Args:
        model: The distiller.
        arguments: The arguments of `fit`, by name.

    Raises:
        ValueError: If the task of an output is not known, so that its error cannot be measured.
    """
    losses = [loss for loss in model.distillation_losses if isinstance(loss, LabelsFirst)]
    waiting = [loss for loss in losses if not loss.is_decided]
    for loss in waiting:
        loss.restart()  # An earlier `fit` may have been interrupted.
    epochs = arguments.get("epochs", 1)
    start = min(max(epochs // 5, 1), 2)
    uses_labels = model.compiled_loss_fn is not None and float(model.student_loss_weight) > 0
    needed = waiting and uses_labels and start < epochs
    unknown = [loss.name for loss in waiting if loss.task is None]
    if needed and unknown:
        raise ValueError(
            "LabelsFirst measures errors on the labels, so the task of the output must be known. "
            f"Received: {unknown} with a compiled loss that does not tell. Pass "
            "SoftTargets(activation='softmax') for classes or 'sigmoid' for labels within it."
        )
    own = [LabelsFirstSchedule(waiting, start)] if needed else []
    return [*own, *list_callbacks(arguments.get("callbacks"))]


class LabelsFirstSchedule(keras.callbacks.Callback):
    """Let the student learn from labels until an epoch, then decide whether the teacher joins.

    Args:
        losses: The losses.
        start: The epoch of the decision, from 0.
    """

    def __init__(self, losses: Sequence[LabelsFirst], start: int) -> None:
        super().__init__()
        self._losses = losses
        self._start = start

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Measure before the epoch of the decision, and decide in it or when a run resumes."""
        model = self.model  # On JAX, reading it updates the variables.
        for loss in self._losses:
            if epoch < self._start:
                loss.measure()
            elif float(loss.measuring) and not loss.decide():
                warn_user(_no_message(model, loss))


def _no_message(model: Any, loss: LabelsFirst) -> str:
    names = [teacher.name for teacher in model.teachers]
    ratio = loss.measured.teacher / loss.measured.student
    return (
        f"Distillation is unlikely to help, so '{loss.name}' does not teach: the error of the "
        f"teacher {names} on the training labels is {ratio:.2f} times the student's "
        "after the first epochs. Expected less than a third of it. The student learns from the "
        "labels alone. Check the inputs and `preprocessing=` of the teacher and the order of its "
        "classes, or train it longer. If the student was trained before, or to distill regardless, "
        "pass a loss without `LabelsFirst`, such as losses=kd.losses.SoftTargets()."
    )
