"""Distillation through teacher assistants."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.files import text_fields
from keras_kd.recipes.stage import StageTrainer
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.keywords import explain_keywords


@dataclass(frozen=True)
class DistillChainResult:
    """Result of `distill_chain`.

    Attributes:
        student: The last model, trained.
        histories: The `History` of each `fit`, by the name of the trained model.
    """

    student: keras.Model
    histories: dict[str, keras.callbacks.History]

    def __repr__(self) -> str:
        fields = {"student": self.student.name, "histories": list(self.histories)}
        return text_fields("DistillChainResult", fields)


@explain_keywords(keras.Model.fit)
def distill_chain(
    models: Sequence[keras.Model | Teacher],
    x: Any,
    y: Any = None,
    *,
    loss: Any = None,
    optimizer: Any = "adam",
    metrics: Any = None,
    losses: Any = None,
    student_loss_weight: float = 0.5,
    distiller: dict[str, Any] | None = None,
    **fit: Any,
) -> DistillChainResult:
    """Distill each model from the previous one, with one `fit` per model.

    If the teacher is much larger than the student, an assistant of intermediate size may be a
    better teacher for the student.

    Args:
        models: The trained teacher, the assistants from large to small, and the student: at least
            two built models with unique names.
        x: Training data, as for `fit`.
        y: Labels, if `x` holds arrays.
        loss: The loss on the labels, as for `compile`. Defaults to `None`, no labels.
        optimizer: A name or an optimizer; each `fit` gets a fresh copy. Defaults to `"adam"`.
        metrics: As for `compile`. Defaults to `None`.
        losses: Distillation losses without state, as for `Distiller`. Defaults to
            `kd.losses.SoftTargets()`.
        student_loss_weight: As for `Distiller`. Defaults to 0.5.
        distiller: Other arguments of `Distiller`, such as `{"noise": kd.noise.LogitNoise(1.0)}`.
            Defaults to `None`.
        **fit: Arguments of `fit`: epochs, validation_data, callbacks, ...

    Returns:
        A `DistillChainResult` with the student and the histories.

    Raises:
        ValueError: If there are fewer than two models, or two have the same name.

    Example:
        >>> chain = kd.distill_chain([teacher, assistant, student], train, epochs=20,
        ...     loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> chain.student.save("student.keras")

    Reference:
        Mirzadeh et al. 2020, arXiv:1902.03393.
    """
    if len(models) < 2 or len({model.name for model in models}) < len(models):
        raise ValueError(
            "distill_chain: `models` must be a teacher, optional assistants and a student, with "
            "unique names. "
            f"Received: {[model.name for model in models]}"
        )
    trainer = StageTrainer(loss, optimizer, metrics, losses, student_loss_weight, distiller)
    histories = {
        student.name: trainer.distill(student, teacher, x, y, **fit)
        for teacher, student in itertools.pairwise(models)
    }
    return DistillChainResult(models[-1], histories)
