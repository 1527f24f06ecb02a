"""One stage of a recipe: a student, a fresh optimizer and one `fit`."""

from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.distillers.distiller import Distiller
from keras_kd.training.optimizers import copy_optimizer


@dataclass(frozen=True)
class StageTrainer:
    """The settings that all stages of a recipe share.

    Attributes:
        loss: As for `compile`.
        optimizer: A name or an optimizer; each stage gets a fresh copy.
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

    def distill(
        self, student: keras.Model, teacher: Any, x: Any, y: Any, **fit: Any
    ) -> keras.callbacks.History:
        """Train a student with a teacher; `fit` are other arguments of `fit`."""
        weight, others = self.student_loss_weight, self.distiller or {}
        model = Distiller(student, teacher, self.losses, student_loss_weight=weight, **others)
        return self._fit(model, x, y, fit)

    def train_alone(
        self, student: keras.Model, x: Any, y: Any, **fit: Any
    ) -> keras.callbacks.History:
        """Train a student on labels only."""
        # A distiller without teachers, because it skips unlabeled samples.
        return self._fit(Distiller(student, [], losses=[], student_loss_weight=1.0), x, y, fit)

    def _fit(self, model: Distiller, x: Any, y: Any, fit: dict) -> keras.callbacks.History:
        model.compile(copy_optimizer(self.optimizer), loss=self.loss, metrics=self.metrics)
        return model.fit(x, y, **fit)
