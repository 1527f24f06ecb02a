"""The checks of `check_loss`; each raises an `AssertionError` that says what is wrong."""

import json
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.reduction import mean_per_sample
from keras_kd.models.keras_compat import set_mask
from keras_kd.training import backend
from keras_kd.training.labels import UNLABELED

# Relative tolerances: of sums in another order, of finite differences.
_ORDER = {"float64": 1e-7, "float32": 1e-4}
_DIFFERENCES = {"float64": 1e-5, "float32": 2e-2}
_STEP = {"float64": 1e-5, "float32": 1e-2}


@dataclass(frozen=True)
class Case:
    """A loss and what it compares, in the widest type in which the backend computes.

    Attributes:
        loss: The loss.
        teacher: The teacher's tap, (batch, ..., channels).
        student: The student's tap, of the same rank.
        labels: Integers (batch, ...).
    """

    loss: DistillationLoss
    teacher: np.ndarray
    student: np.ndarray
    labels: np.ndarray

    def values(self, teacher: Any, student: Any, labels: Any, dtype: str | None = None) -> Any:
        """Return what the loss returns for taps of a type."""
        dtype = dtype or widest_dtype()
        return self.loss(ops.cast(teacher, dtype), ops.cast(student, dtype), labels)

    def per_sample(self, teacher: Any, student: Any, labels: Any) -> np.ndarray:
        """Return the values of the samples, (batch,)."""
        return _array(mean_per_sample(self.values(teacher, student, labels)))

    def gradient(self, teacher: Any, student: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of the samples and the gradient of their sum."""
        dtype = widest_dtype()
        teacher = ops.cast(teacher, dtype)
        found = backend.value_and_gradient(
            lambda x: mean_per_sample(self.loss(teacher, x, labels)), ops.cast(student, dtype)
        )
        return _array(found[0]), _array(found[1])

    @property
    def taps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Teacher, student and labels."""
        return self.teacher, self.student, self.labels


def widest_dtype() -> str:
    """Return float64, if means of it are computed in it, else float32."""
    mean = ops.mean(ops.cast(np.ones(2), "float64"))
    return keras.backend.standardize_dtype(mean.dtype)


def check_shape(case: Case) -> None:
    """One value per sample or per position; `DistillationLoss` rejects anything else."""
    values = case.values(*case.taps)
    shape = tuple(values.shape)
    allowed = [case.student.shape[:1], case.student.shape[:-1]]
    _require(shape in allowed, f"the values have the shape {shape}, expected one of {allowed}")


def check_dtype(case: Case) -> None:
    """Values are float32, or float64 for float64; half precision is cast before it is used."""
    for dtype in {"float32", widest_dtype()}:
        found = keras.backend.standardize_dtype(case.values(*case.taps, dtype).dtype)
        _require(found == dtype, f"taps of {dtype} have values of {found}")
    for half in ("float16", "bfloat16"):
        rounded = [ops.cast(ops.cast(x, half), "float32") for x in case.taps[:2]]
        found = _array(case.values(*case.taps, half))
        expected = _array(case.values(*rounded, case.labels, "float32"))
        _require(
            found.dtype == expected.dtype and np.array_equal(found, expected),
            f"values of {half} taps differ from those of the same numbers in float32",
        )


def check_finite(case: Case) -> None:
    """Finite values and gradients where a division by a norm or a logarithm goes wrong."""
    teacher, student, labels = case.taps
    places = {
        "random taps": (teacher, student),
        "equal taps": (student, student) if teacher.shape == student.shape else (teacher, student),
        "a student of zeros": (teacher, 0 * student),
        "a teacher of zeros": (0 * teacher, student),
    }
    if case.loss.on_logits:
        places["logits of 10,000"] = (1e4 * np.sign(teacher), 1e4 * np.sign(student))
    for place, taps in places.items():
        _require_finite(case.gradient(*taps, labels), place)


def check_single_sample(case: Case) -> None:
    """The last batch of an epoch may have one sample."""
    found = case.gradient(*(x[:1] for x in case.taps))
    _require(found[0].shape == (1,), f"a batch of one has values of the shape {found[0].shape}")
    _require_finite(found, "a batch of one")


def check_gradient(case: Case) -> None:
    """The gradient along random directions is the slope of the value."""
    dtype, rng = widest_dtype(), np.random.default_rng(1)
    _, gradient = case.gradient(*case.taps)
    length = np.linalg.norm(gradient)
    _require(length > 0, "the student has no gradient: it is zero everywhere")
    for _ in range(3):
        direction = rng.normal(size=case.student.shape)
        direction /= np.linalg.norm(direction)
        step = _STEP[dtype] * direction
        above, below = (
            case.per_sample(case.teacher, case.student + sign * step, case.labels).sum()
            for sign in (1, -1)
        )
        slope, found = (above - below) / (2 * _STEP[dtype]), np.sum(gradient * direction)
        _require(
            abs(slope - found) <= _DIFFERENCES[dtype] * length,
            f"the gradient along a direction is {found:g}, and finite differences give {slope:g}. "
            "If a part of the value has no gradient on purpose, pass skip=['gradient']",
        )


def check_permutation(case: Case) -> None:
    """The order of the samples does not matter."""
    order = np.random.default_rng(2).permutation(len(case.student))
    values, gradient = case.gradient(*case.taps)
    moved, slope = case.gradient(*(x[order] for x in case.taps))
    _require(_near(moved, values[order]), "permuted samples have other values")
    _require(_near(slope, gradient[order]), "permuted samples have other gradients")


def check_replicas(case: Case) -> None:
    """A replica has a part of a batch; each sample has the value it has in the whole batch."""
    if case.loss.relates_samples:
        return
    half = len(case.student) // 2
    parts = [case.per_sample(*(x[part] for x in case.taps)) for part in _halves(half)]
    _require(
        _near(np.concatenate(parts), case.per_sample(*case.taps)),
        "values depend on the other samples of the batch. If they shall, set relates_samples = "
        "True on the class (for a loss that needs two samples or more), or pass skip=['replicas']",
    )


def check_weights(case: Case) -> None:
    """Sample weights multiply the values, and weights of zero remove a sample."""
    values = case.values(*case.taps)
    weights = np.linspace(0, 2, len(case.student))
    found = _array(mean_per_sample(values, weights))
    _require(
        _near(found, _array(mean_per_sample(values)) * weights),
        "weighted values are not the values times their weights",
    )


def check_masks(case: Case) -> None:
    """Masked steps of a sequence change neither value nor gradient, or are rejected."""
    taps = [_as_sequence(x) for x in (case.teacher, case.student)]
    labels = np.resize(case.labels, taps[1].shape[: 2 if case.loss.on_logits else 1])
    mask = np.arange(taps[1].shape[1]) < 2
    mask = np.broadcast_to(mask, taps[1].shape[:2])

    def value(teacher: Any, student: Any, given: Any) -> tuple[np.ndarray, np.ndarray]:
        teacher = ops.cast(teacher, widest_dtype())

        def masked(x: Any) -> Any:
            return mean_per_sample(case.loss(teacher, set_mask(x, mask), given))

        found = backend.value_and_gradient(masked, ops.cast(student, widest_dtype()))
        return _array(found[0]), _array(found[1])

    try:
        values, _ = value(*taps, labels)
    except ValueError:
        return  # Sequences, or their masks, are rejected.
    other = [np.where(mask[..., None], x, 7.0) for x in taps]
    given = np.where(mask, labels, 0) if labels.ndim == 2 else labels
    changed, gradient = value(*other, given)
    _require(_near(changed, values), "the content of masked steps changes the values")
    _require(not gradient[~mask].any(), "masked steps have a gradient")


def check_missing_labels(case: Case) -> None:
    """Samples without a label are distilled, and a loss that needs labels demands them."""
    labels = case.labels.copy()
    labels[: len(labels) // 2] = UNLABELED
    _require_finite(case.gradient(case.teacher, case.student, labels), "missing labels")
    if not case.loss.needs_labels:
        _require_finite(case.gradient(case.teacher, case.student, None), "labels=None")
        return
    try:
        case.values(case.teacher, case.student, None)
    except ValueError:
        return
    raise AssertionError("needs_labels is True, but labels=None raises no ValueError")


def check_serialization(case: Case) -> None:
    """A loss is saved with its distiller, and made again from its configuration."""
    config = case.loss.get_config()
    try:
        text = json.dumps(config, sort_keys=True)
    except TypeError as error:
        raise AssertionError(f"get_config returns what JSON cannot hold: {error}") from error
    try:
        again = type(case.loss).from_config(json.loads(text))
    except TypeError as error:
        raise AssertionError(
            f"get_config must return the arguments of the constructor, and only these: {error}"
        ) from error
    found = json.dumps(again.get_config(), sort_keys=True)
    _require(found == text, f"the configuration {text} becomes {found}")
    expected, values = (_array(loss(*case.taps)) for loss in (case.loss, again))
    _require(
        np.array_equal(expected, values), "the loss that was made from get_config has other values"
    )


CHECKS = {
    "shape": check_shape,
    "dtype": check_dtype,
    "finite": check_finite,
    "single_sample": check_single_sample,
    "gradient": check_gradient,
    "permutation": check_permutation,
    "replicas": check_replicas,
    "weights": check_weights,
    "masks": check_masks,
    "missing_labels": check_missing_labels,
    "serialization": check_serialization,
}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _require_finite(found: tuple[np.ndarray, np.ndarray], place: str) -> None:
    for part, what in zip(found, ("values", "gradients"), strict=True):
        _require(bool(np.isfinite(part).all()), f"{place}: the {what} are not finite")


def _near(found: np.ndarray, expected: np.ndarray) -> bool:
    tolerance = _ORDER[widest_dtype()]
    scale = max(float(np.abs(expected).max(initial=0)), 1e-3)
    return found.shape == expected.shape and bool(
        (np.abs(found - expected) <= tolerance * scale).all()
    )


def _array(x: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(x))


def _halves(half: int) -> tuple[slice, slice]:
    return slice(half), slice(half, None)


def _as_sequence(x: np.ndarray) -> np.ndarray:
    """Return (batch, time, channels) with the values of a tap."""
    steps = x if x.ndim > 2 else np.stack([x, x[::-1], 0.5 * x, -x], axis=1)
    return steps.reshape(len(steps), -1, steps.shape[-1])
