"""One stage of a training in several: a student, its teachers, a fresh optimizer, one `fit`."""

from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.distillers.distiller import Distiller
from keras_kd.training.optimizers import copy_optimizer


@dataclass(frozen=True)
class Stages:
    """What all the stages of a training share.

    Attributes:
        loss: As for `compile`.
        optimizer: A name or an optimizer, of which each stage gets a fresh copy.
        metrics: As for `compile`.
        losses: Distillation losses, as for `Distiller`.
        student_loss_weight: As for `Distiller`.
        distiller: Other arguments of `Distiller`, or `None`.
    """

    loss: Any
    optimizer: Any
    metrics: Any
    losses: Any
    student_loss_weight: float
    distiller: dict[str, Any] | None

    def taught(
        self, student: keras.Model, teacher: Any, x: Any, y: Any, **fit: Any
    ) -> keras.callbacks.History:
        """Trains a student from the teacher.

        Args:
            student: The student.
            teacher: Its teacher.
            x: As for `fit`.
            y: As for `fit`.
            **fit: Other arguments of `fit`.

        Returns:
            The `History`.
        """
        weight, others = self.student_loss_weight, self.distiller or {}
        stage = Distiller(student, teacher, self.losses, student_loss_weight=weight, **others)
        return self._fit(stage, x, y, fit)

    def untaught(self, student: keras.Model, x: Any, y: Any, **fit: Any) -> keras.callbacks.History:
        """Trains a student from labels alone; as `taught`, without a teacher."""
        # A distiller all the same: it leaves out samples that have no label.
        return self._fit(Distiller(student, [], losses=[], student_loss_weight=1.0), x, y, fit)

    def _fit(self, stage: Distiller, x: Any, y: Any, fit: dict) -> keras.callbacks.History:
        stage.compile(copy_optimizer(self.optimizer), loss=self.loss, metrics=self.metrics)
        return stage.fit(x, y, **fit)
