"""The task of an output: what its numbers mean, decided once from the evidence.

Losses, weightings, scores and reports read this one value; none of them guesses from shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_kd.models.user_warnings import warn_user

#: `"classes"`: mutually exclusive classes, two units or more. `"binary"`: yes or no, one unit.
#: `"labels"`: several independent yes-or-no labels. `"values"`: numbers (regression).
TASKS = ("classes", "binary", "labels", "values")
MEANINGS = {
    "classes": "mutually exclusive classes",
    "binary": "a yes-or-no question",
    "labels": "independent labels",
    "values": "numbers (regression)",
}
#: The activation that makes probabilities of the logits, by task.
ACTIVATIONS = {"classes": "softmax", "binary": "sigmoid", "labels": "sigmoid"}

#: Losses over the classes of an output.
CLASS_LOSSES = (
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "KLDivergence",
    "SparseCategoricalCrossentropy",
)
_YES_OR_NO = ("BinaryCrossentropy", "BinaryFocalCrossentropy", "Hinge", "SquaredHinge")
_VALUES = (
    "CosineSimilarity",
    "Huber",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
)
#: What to write when the task is not known.
DECLARE = (
    "Declare it: `outputs=` of kd.Teacher and `student_outputs=` of the distiller take 'logits', "
    "'probabilities' or 'values', for all outputs or in a dictionary by output; or pass `losses=`, "
    "such as kd.losses.SoftTargets(activation='sigmoid') or kd.losses.OutputsMSE()."
)


@dataclass(frozen=True)
class Evidence:
    """What is known of one output.

    Attributes:
        name: The output's name, for messages.
        units: Size of its last axis.
        declared: What the user declared: one of `TASKS`, `"logits"`, `"probabilities"` or
            `"auto"`. Defaults to `"auto"`.
        loss: The loss that is compiled for it, in any form that Keras accepts, or `None`.
        heads: The kinds of the heads, of the student and of its teachers, as `inspect_output`
            returns them: `"softmax"`, `"sigmoid"`, `"logits"`, `"values"` or `"unknown"`.
    """

    name: str
    units: int
    declared: str = "auto"
    loss: Any = None
    heads: Sequence[str] = ()


def decide_task(evidence: Evidence) -> str | None:
    """Return the task of an output, from the strongest evidence that there is.

    The order is: what the user declared, the compiled loss, the visible activation of a head. A
    softmax always stands for classes, because its units sum to 1, whatever the loss.

    Returns:
        One of `TASKS`, or `None` if it is not known.

    Raises:
        ValueError: If the evidence is contradictory.
    """
    by_loss = task_from_loss(evidence.loss, evidence.units)
    by_head = _single({_task_from_head(kind, evidence.units) for kind in evidence.heads} - {None})
    if evidence.declared == "values" and by_loss not in (None, "values"):
        raise _contradiction(evidence, "declared as 'values'", by_loss)
    if evidence.declared in TASKS:
        return evidence.declared
    if by_loss == "values" and (by_head == "classes" or evidence.declared != "auto"):
        return by_head or ("binary" if evidence.units == 1 else "classes")
    if by_head is not None and by_loss not in (None, "values", by_head):
        raise _contradiction(evidence, f"made by a {_activation(by_head)}", by_loss)
    return by_loss or by_head


def require_task(evidence: Evidence) -> str:
    """Return the task of an output; two linear units or more are classes if nothing else tells.

    Raises:
        ValueError: If the evidence is contradictory, or the task of a single unit is not known.
    """
    task = decide_task(evidence)
    if task is not None:
        return task
    if evidence.units != 1:
        if evidence.declared == "auto":
            warn_user(
                f"It is not known what the {evidence.units} units of the output '{evidence.name}' "
                f"are, so they are taken for the logits of classes. {DECLARE}"
            )
        return "classes"
    if evidence.declared in ("logits", "probabilities"):
        return "binary"
    raise ValueError(
        f"It is not known whether the single unit of the output '{evidence.name}' is the logit of "
        "a yes-or-no question or a number (regression): compile with a loss, such as 'mse' or "
        f"keras.losses.BinaryCrossentropy(from_logits=True). {DECLARE}"
    )


def task_from_loss(loss: Any, units: int) -> str | None:
    """Return the task that a compiled loss is for, or `None` for one that does not tell.

    Args:
        loss: The loss of one output: an instance, a function, a name, or `None`.
        units: Size of the output's last axis.
    """
    name = loss_name(loss)
    if name in CLASS_LOSSES:
        return "classes"
    if name in _YES_OR_NO:
        return "binary" if units == 1 else "labels"
    return "values" if name in _VALUES else None


def task_from_labels(labels: np.ndarray, shape: Sequence[int | None]) -> str | None:
    """Return the task that labels are for: the weakest evidence, for outputs of unknown origin.

    Args:
        labels: Labels of a batch. NaN stands for a missing one.
        shape: Shape of the output, (batch, ..., units).
    """
    known = labels[~np.isnan(labels)] if labels.dtype.kind == "f" else labels
    if not known.size or labels.dtype.kind not in "biuf":
        return None
    zero_or_one = bool(np.isin(known, (0, 1)).all())
    if shape[-1] == 1:
        # -1 is a missing label of a yes-or-no question, where the others are 0 and 1.
        return "binary" if np.isin(known, (-1, 0, 1)).all() else "values"
    if labels.ndim == len(shape) and labels.shape[-1] == shape[-1]:
        if (labels >= 0).all() and np.allclose(labels.sum(-1), 1):
            return "classes"
        return "labels" if zero_or_one else "values"
    return "classes" if (known == np.floor(known)).all() else None


def loss_name(loss: Any) -> str | None:
    """Return the class of a Keras loss in any form, or `None` if it is not one of Keras's."""
    if loss is None or (isinstance(loss, str) and loss.lower() in ("crossentropy", "ce")):
        return None
    found = keras.losses.get(loss)
    for name in (*CLASS_LOSSES, *_YES_OR_NO, *_VALUES):
        kind = getattr(keras.losses, name, None)
        if kind is not None and (isinstance(found, kind) or _is_function_of(found, kind)):
            return name
    return None


def warn_about_from_logits(evidence: Evidence) -> None:
    """Warn of a cross-entropy that reads logits as probabilities, or the reverse."""
    head = evidence.heads[0] if evidence.heads else "unknown"
    from_logits = reads_logits(evidence.loss)
    if from_logits is None or head not in ("logits", "softmax", "sigmoid"):
        return
    if head == "logits" and not from_logits:
        warn_user(
            f"The output '{evidence.name}' of the student is logits (it ends without softmax or "
            f"sigmoid), but the compiled loss reads probabilities. Pass "
            f"keras.losses.{loss_name(evidence.loss)}(from_logits=True)."
        )
    elif head != "logits" and from_logits:
        warn_user(
            f"The output '{evidence.name}' of the student ends in a {head}, but the compiled loss "
            "applies another one: from_logits=True. Pass "
            f"keras.losses.{loss_name(evidence.loss)}(from_logits=False)."
        )


def _task_from_head(kind: str, units: int) -> str | None:
    if kind == "softmax":
        return "classes"
    if kind == "sigmoid":
        return "binary" if units == 1 else "labels"
    return "values" if kind == "values" else None


def _single(tasks: set[str]) -> str | None:
    """Return the only element; heads that differ do not tell."""
    return next(iter(tasks)) if len(tasks) == 1 else None


def _activation(task: str) -> str:
    return {"classes": "softmax", "values": "activation of a regression"}.get(task, "sigmoid")


def _contradiction(evidence: Evidence, one: str, by_loss: str) -> ValueError:
    return ValueError(
        f"The output '{evidence.name}' is {one}, but the compiled loss {evidence.loss!r} is for "
        f"{MEANINGS[by_loss]}. Change one of them. {DECLARE}"
    )


def reads_logits(loss: Any) -> bool | None:
    """Return the `from_logits` of a Keras loss in any form, `None` if it has none."""
    found = None if loss_name(loss) is None else keras.losses.get(loss)
    if isinstance(found, keras.losses.Loss):
        return found.get_config().get("from_logits")
    return False if "crossentropy" in getattr(found, "__name__", "") else None


def _is_function_of(loss: Any, kind: type) -> bool:
    """Whether a loss is the function that a Keras class wraps."""
    return not isinstance(loss, keras.losses.Loss) and loss is getattr(kind(), "fn", None)
