"""Checks of the arguments of distillers."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from keras_kd.losses import DistillationLoss
from keras_kd.models.declaration import check_declaration
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.precomputed_teacher import PrecomputedTeacher
from keras_kd.teachers.weighting import Weighting

#: Names in the history, and owners of hyperparameters, that no distillation loss may have.
_RESERVED = ("loss", "student_loss", "noise", "agreement")


def check_numbers(
    teachers: int, losses: int, class_names: Sequence[str] | None, classes: int
) -> None:
    """Reject losses without a teacher, and too few or too many names of classes.

    Raises:
        ValueError: If there are losses and no teachers, or other than `classes` names.
    """
    if losses and not teachers:
        raise ValueError(
            "Distiller: with distillation losses there must be at least one teacher; pass "
            "`losses=[]` to train from labels alone. Received: teachers=[]"
        )
    if class_names is not None and len(class_names) != classes:
        raise ValueError(
            f"Distiller: the student has {classes} classes, so there must be as many "
            f"`class_names`. Received: class_names={class_names}"
        )


def reject_unknown_probabilities(
    loss: DistillationLoss, output: str, kinds: Sequence[str | None]
) -> None:
    """Reject probabilities that may be those of a softmax or of a sigmoid.

    Args:
        loss: A loss on logits that does not tell.
        output: The student's output.
        kinds: The kinds of it and of the teachers' outputs; see `TappedModel`.

    Raises:
        ValueError: If one is `"probabilities"`.
    """
    if "probabilities" in kinds:
        raise ValueError(
            f"{type(loss).__name__}: the probabilities of the output '{output}' may be those of a "
            "softmax or of a sigmoid, whose logits differ. Compile a loss that tells, such as "
            "keras.losses.CategoricalCrossentropy() or BinaryCrossentropy(), or pass models that "
            "end in logits. Received: outputs='probabilities'"
        )


def check_arguments(weighting: Any, noise: Any, class_names: Any, student_outputs: Any) -> None:
    """Reject arguments of the wrong kind; see `Distiller`.

    Raises:
        TypeError: If one has the wrong type.
        ValueError: If names are duplicated, or `student_outputs` is unknown.
    """
    if not isinstance(weighting, (Weighting, type(None))):
        raise TypeError(
            "Distiller: `weighting` must be one of kd.weighting, such as kd.weighting.Entropy(). "
            f"Received: weighting={weighting!r}"
        )
    if not isinstance(noise, (LogitNoise, type(None))):
        raise TypeError(
            "Distiller: `noise` must be a kd.noise.LogitNoise, such as kd.noise.LogitNoise(0.5). "
            f"Received: noise={noise!r}"
        )
    names = isinstance(class_names, (list, tuple)) and all(isinstance(n, str) for n in class_names)
    if class_names is not None and not names:
        raise TypeError(
            "Distiller: `class_names` must be a list of names. "
            f"Received: class_names={class_names!r}"
        )
    if class_names is not None and len(set(class_names)) < len(class_names):
        raise ValueError(
            f"Distiller: `class_names` must be unique. Received: class_names={class_names}"
        )
    check_declaration(student_outputs, "Distiller: `student_outputs`")


#: How to use stored outputs of a teacher together with `augment`.
SAME_VIEW = (
    "Received: same_view=True. Store the outputs for augmented views with "
    "kd.KnowledgeCache.build(..., views=, augment=) instead of `augment` here; or pass "
    "same_view=False, which teaches the outputs for the original inputs."
)


def check_same_view(same_view: bool, teachers: Iterable[BaseTeacher]) -> None:
    """Reject precomputed teacher outputs for augmented inputs.

    Args:
        same_view: Whether the teachers get augmented inputs.
        teachers: The teachers.

    Raises:
        ValueError: If they do, and the outputs of one are precomputed.
    """
    names = [one.name for one in teachers if isinstance(one, PrecomputedTeacher)]
    if same_view and names:
        raise ValueError(
            f"Distiller: the precomputed outputs of the teachers {names} are for the original "
            f"inputs, not for the augmented view of the student. {SAME_VIEW}"
        )


def unique_names(names: Iterable[str]) -> list[str]:
    """Number repeated names: hint, hint_2, hint_3.

    Raises:
        ValueError: If a name is reserved.
    """
    found = []
    for name in names:
        if name in _RESERVED:
            raise ValueError(
                f"A distillation loss must not be called '{name}': the history has an entry of "
                f"that name. Received: name={name!r}"
            )
        numbered = (f"{name}_{count}" for count in itertools.count(2))
        found.append(name if name not in found else next(n for n in numbered if n not in found))
    return found
