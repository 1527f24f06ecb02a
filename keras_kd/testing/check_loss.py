"""A conformance suite for distillation losses, also those of other packages."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.testing.loss_checks import CHECKS, Case

# Samples, classes or channels, and the positions of a map.
_BATCH, _CHANNELS, _POSITIONS = 6, 5, (4, 3)


def check_loss(
    loss: DistillationLoss,
    teacher: Any = None,
    student: Any = None,
    labels: Any = None,
    skip: Sequence[str] = (),
) -> None:
    """Check that a loss keeps what a distiller relies on, as `check_estimator` of scikit-learn.

    | check | what must hold |
    | --- | --- |
    | `shape` | one value per sample or per position |
    | `dtype` | float32 values, float64 for float64; half precision is cast to float32 first |
    | `finite` | finite values and gradients, also for equal, zero and very large taps |
    | `single_sample` | a batch of one sample is finite |
    | `gradient` | the gradient is that of the value, by finite differences |
    | `permutation` | permuting the samples permutes the values |
    | `replicas` | each half of a batch has the values it has in the whole batch |
    | `weights` | sample weights multiply the values of their samples |
    | `masks` | masked steps of a sequence change nothing, or are rejected |
    | `missing_labels` | samples without a label are finite; a loss that needs labels demands them |
    | `serialization` | the loss made from `get_config` is equal, and its configuration is JSON |

    Args:
        loss: The loss; it is not changed.
        teacher: Example of the teacher's tap, an array (batch, ..., channels). Defaults to `None`:
            random logits (batch, classes), or maps for a loss on positions.
        student: Example of the student's tap after the projector, of the same rank. Defaults to
            `None`.
        labels: Integers (batch, ...). Defaults to `None`, random ones.
        skip: Names of checks that do not apply: `"gradient"` for a loss that stops the gradient of
            a part of its value on purpose, `"replicas"` for one whose value of a sample depends on
            the other samples, unless it sets `relates_samples`. Defaults to none.

    Raises:
        AssertionError: If a check fails; the message names it.
        TypeError: If `loss` is not a `DistillationLoss`.
        ValueError: If `skip` has an unknown name.

    Example:
        >>> kd.testing.check_loss(MeanAbsolute())
    """
    if not isinstance(loss, DistillationLoss):
        raise TypeError(
            "check_loss: `loss` must be a kd.losses.DistillationLoss. "
            f"Received: loss={loss!r} (of type {type(loss).__name__})"
        )
    if unknown := set(skip) - set(CHECKS):
        raise ValueError(
            f"check_loss: `skip` must have names of {list(CHECKS)}. Received: {sorted(unknown)}"
        )
    case = _case(loss, teacher, student, labels)
    for name, check in CHECKS.items():
        if name not in skip:
            _run(name, check, case)


def _run(name: str, check: Any, case: Case) -> None:
    failure = f"check_loss: {type(case.loss).__name__} fails the check '{name}'"
    try:
        check(case)
    except AssertionError as error:
        raise AssertionError(f"{failure}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{failure}: {type(error).__name__}: {error}") from error


def _case(loss: DistillationLoss, teacher: Any, student: Any, labels: Any) -> Case:
    rng = np.random.default_rng(0)
    positions = _POSITIONS if getattr(loss, "by_position", False) else ()
    shape = (_BATCH, *positions, _CHANNELS) if student is None else np.shape(student)
    if teacher is None:
        teacher = 2 * rng.normal(size=shape)
    if student is None:
        student = 2 * rng.normal(size=shape)
    if labels is None:
        labels = rng.integers(0, shape[-1], shape[:-1] if loss.on_logits else shape[:1])
    return Case(loss, np.asarray(teacher), np.asarray(student), np.asarray(labels))
