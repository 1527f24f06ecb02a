"""Teaching assistants: over a large gap, one model teaches the next."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.recipes.stage import Stages
from keras_kd.teachers.teacher import Teacher


@dataclass(frozen=True)
class Chain:
    """What `distill_chain` gives.

    Attributes:
        student: The last model, trained.
        histories: The `History` of each `fit`, by the name of the model that was trained.
    """

    student: keras.Model
    histories: dict[str, keras.callbacks.History]


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
) -> Chain:
    """Distils each model from the one before it, one `fit` after the other.

    Where the teacher is very much larger than the student, an assistant of a size between them may
    teach the student better than the teacher itself.

    Args:
        models: The teacher (trained), the assistants from large to small, the student; at least
            two, built. All but the first are trained.
        x: Training data, as for `fit`.
        y: Labels, if `x` holds arrays.
        loss: The loss on the labels, as for `compile`. Defaults to `None`: no labels.
        optimizer: A name, or an optimizer of which each `fit` gets a fresh copy. Defaults to
            `"adam"`.
        metrics: As for `compile`.
        losses: Distillation losses, as for `Distiller`, by name or configuration or as losses
            without state. Defaults to `kd.losses.SoftTargets()`.
        student_loss_weight: As for `Distiller`.
        distiller: Other arguments of `Distiller`, such as `{"noise": kd.noise.LogitNoise(1.0)}`.
        **fit: Arguments of `fit`: epochs, validation_data, callbacks, ...

    Returns:
        A `Chain`.

    Raises:
        ValueError: When there are fewer than two models or two have the same name.

    Example:
        >>> chain = kd.distill_chain([teacher, assistant, student], train, epochs=20,
        ...     loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> chain.student.save("student.keras")

    Reference:
        Mirzadeh et al. 2020, arXiv:1902.03393.
    """
    if len(models) < 2 or len({model.name for model in models}) < len(models):
        raise ValueError(
            "distill_chain: pass a teacher, perhaps assistants, and a student, with a name each. "
            f"Received: {[model.name for model in models]}"
        )
    stages = Stages(loss, optimizer, metrics, losses, student_loss_weight, distiller)
    histories = {
        student.name: stages.taught(student, teacher, x, y, **fit)
        for teacher, student in itertools.pairwise(models)
    }
    return Chain(models[-1], histories)
