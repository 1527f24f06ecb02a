"""Weights of several teachers, sample by sample."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.files import text_fields
from keras_kd.losses.distillation_loss import at_least_float32
from keras_kd.losses.label_error import class_error
from keras_kd.models.keras_compat import get_mask
from keras_kd.training import backend


class Weighting:
    """Base class of all weightings: weights of several teachers from their logits.

    Subclasses override `call`. Calling a weighting returns weights of shape (teachers, batch) that
    sum to 1 over the teachers.

    Example:
        >>> weights = kd.weighting.CrossEntropy()(teacher_logits, labels)  # (teachers, batch)
    """

    def __repr__(self) -> str:
        return text_fields(type(self).__name__, self.get_config())

    def __call__(self, teacher_logits: Any, labels: Any = None, kept: Any = None) -> Any:
        """Compute the weights.

        Args:
            teacher_logits: (teachers, batch, classes), or (teachers, batch, ..., classes) for dense
                prediction. Half precision is cast to float32. The masked steps of a sequence, by
                its Keras mask (teachers, batch, time), do not count.
            labels: Integers (batch, ...), one-hot (batch, ..., classes) or `None`. Labels of -1
                and rows of NaN mean no label.
            kept: (teachers, batch), 1 for a teacher that may have a weight for a sample, else 0.
                Defaults to `None`, all teachers.

        Returns:
            (teachers, batch), summing to 1 over the teachers (to 0 if no teacher is kept).
        """
        logits = at_least_float32(teacher_logits)
        if kept is None:
            kept = ops.ones(ops.shape(logits)[:2], logits.dtype)
        return self.call(logits, labels, kept)

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Compute the weights of the kept teachers.

        Args:
            teacher_logits: (teachers, batch, ..., classes).
            labels: As in `__call__`.
            kept: (teachers, batch), 1 for a teacher that is kept for a sample and 0 for one that is
                not; at least one is kept.

        Returns:
            (teachers, batch), 0 where `kept` is 0.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define `call`.")

    def check(self, teachers: int) -> None:
        """Raise a `ValueError` if the weighting does not fit this number of teachers."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Weighting":
        """Create the weighting from `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_kd")
class Uniform(Weighting):
    """The same weight, 1/K, for each of K teachers.

    Example:
        >>> kd.Distiller(student, teachers, weighting=kd.weighting.Uniform())
    """

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Compute the weights; see the base class."""
        return _uniform(kept)


@keras.saving.register_keras_serializable(package="keras_kd")
class Fixed(Weighting):
    """Constant weights, the same for every sample.

    Args:
        weights: One non-negative number per teacher; they are divided by their sum.

    Raises:
        ValueError: If a weight is negative or not finite, or all are 0.

    Example:
        >>> kd.Distiller(student, [big, small], weighting=kd.weighting.Fixed([2, 1]))
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = [float(weight) for weight in weights]
        if not all(0 <= weight < float("inf") for weight in self.weights) or not any(self.weights):
            raise ValueError(
                "Fixed: `weights` must be finite and non-negative numbers, at least one above 0. "
                f"Received: weights={weights}"
            )

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Compute the weights; see the base class."""
        weights = ops.convert_to_tensor(self.weights, dtype=kept.dtype)
        return _normalize(ops.expand_dims(weights, 1) * kept, kept)

    def check(self, teachers: int) -> None:
        """Raise a `ValueError` if there is another number of teachers than of weights."""
        if len(self.weights) != teachers:
            raise ValueError(
                f"Fixed: there are {teachers} teachers, so there must be {teachers} weights. "
                f"Received: weights={self.weights}"
            )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"weights": self.weights}


@keras.saving.register_keras_serializable(package="keras_kd")
class ByGroup(Weighting):
    """Each sample learns from one teacher, the one of its group: specialists teach one student.

    The group of a sample is a number in the inputs, under a key that no model needs: 0 for the
    first teacher. Each teacher has all of the student's classes or, with `kd.Teacher(classes=...)`,
    some of them; a teacher without the class of a sample's label does not teach it. All teachers
    run on the whole batch.

    Args:
        key: Key of the numbers in the dictionary of inputs. Defaults to `"teacher_id"`.

    Raises:
        ValueError: If there are fewer than two teachers; in training, if the inputs lack the key,
            or a number is not that of a teacher.

    Example:
        >>> distiller = kd.Distiller(student, [day, night], weighting=kd.weighting.ByGroup())
        >>> distiller.fit({"image": images, "teacher_id": is_night}, labels)
    """

    def __init__(self, key: str = "teacher_id") -> None:
        self.key = key

    def select(self, x: Any, kept: Any) -> Any:
        """Compute the weights: 1 for the teacher of a sample's group if it is kept, else 0.

        Args:
            x: The batch, a dictionary with the key.
            kept: As in `call`.
        """
        if not isinstance(x, dict) or self.key not in x:
            found = sorted(x) if isinstance(x, dict) else f"inputs of type {type(x).__name__}"
            raise ValueError(
                f"ByGroup reads the teacher of each sample from the inputs, a dictionary with the "
                f"key '{self.key}'. Received: {found}"
            )
        groups = ops.convert_to_tensor(x[self.key])
        if "int" not in keras.backend.standardize_dtype(groups.dtype):
            raise ValueError(
                f"ByGroup: the numbers of the teachers, '{self.key}' in the inputs, must be "
                f"integers from 0. Received: {groups.dtype}"
            )
        groups, teachers = ops.cast(ops.reshape(groups, (-1,)), "int32"), kept.shape[0]
        known = ops.logical_and(groups >= 0, groups < teachers)
        message = f"ByGroup: '{self.key}' in the inputs must be from 0 to {teachers - 1}."
        with backend.after(backend.assertion(ops.all(known), message)):
            chosen = ops.one_hot(groups, teachers, axis=0, dtype=kept.dtype)
            # XLA drops assertions; a loss of NaN is not mistaken for a good one.
            return ops.where(known, chosen * kept, ops.full_like(kept, float("nan")))

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Reject a call without inputs; see `select`."""
        raise ValueError(
            "ByGroup reads the inputs, so it works in a Distiller and not within another weighting."
        )

    def check(self, teachers: int) -> None:
        """Raise a `ValueError` if there are not several teachers."""
        if teachers < 2:
            raise ValueError(
                "ByGroup chooses one of several teachers for each sample. Received: "
                f"{teachers} teacher"
            )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"key": self.key}


@keras.saving.register_keras_serializable(package="keras_kd")
class Entropy(Weighting):
    """Larger weights for teachers whose predictions have lower entropy; needs no labels.

    With H_k the entropy of teacher k's softmax: w_k = (1 − H_k / Σ_j H_j) / (K − 1).

    Example:
        >>> kd.Distiller(student, teachers, weighting=kd.weighting.Entropy())

    Reference:
        Kwon et al. 2020, "Adaptive knowledge distillation based on entropy". Golden: `ebkd`.
    """

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Compute the weights; see the base class."""
        entropies = entropy(teacher_logits) * kept
        total = ops.sum(entropies, axis=0)
        # If every entropy is 0, the weights are equal.
        parts = ops.where(total > 0, entropies / ops.where(total > 0, total, 1), _uniform(kept))
        return _complement(parts, kept)


@keras.saving.register_keras_serializable(package="keras_kd")
class CrossEntropy(Weighting):
    """Larger weights for teachers with a lower cross-entropy on the label.

    With L_k the cross-entropy of teacher k on the label: w_k = (1 − softmax_k(L)) / (K − 1).
    Samples without a label fall back to `Entropy`.

    Example:
        >>> kd.Distiller(student, teachers, weighting=kd.weighting.CrossEntropy())

    Reference:
        Zhang et al. 2022 (CA-MKD), arXiv:2201.00007, equations 2 and 3. Golden: `camkd`.
    """

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Compute the weights; see the base class."""
        unsupervised = Entropy().call(teacher_logits, None, kept)
        if labels is None:
            return unsupervised
        losses, labeled = cross_entropy(teacher_logits, labels)
        # Subtracting the largest kept loss does not change the softmax and prevents overflow.
        # A replica may have no sample, of which there is no largest loss.
        worst = ops.max(losses * kept, axis=0, initial=0)
        parts = ops.exp(ops.minimum(losses - worst, 0)) * kept
        supervised = _complement(parts / ops.sum(parts, axis=0), kept)
        return ops.where(labeled, supervised, unsupervised)


@keras.saving.register_keras_serializable(package="keras_kd")
class Screening(Weighting):
    """Weight the best teachers of each sample and ignore the others.

    Teachers are ranked per sample by their cross-entropy on the label, or by their entropy if the
    sample has no label.

    Args:
        keep: Number of teachers to keep per sample; ties are resolved by the order of the teachers.
        threshold: Alternative to `keep`: drop teachers whose cross-entropy exceeds the best one's
            by more than this many nats.
        then: Weighting of the remaining teachers. Defaults to `CrossEntropy()`.

    Raises:
        ValueError: If not exactly one of `keep` and `threshold` is given, `keep` is below 1 or
            `threshold` is negative.

    Example:
        >>> kd.Distiller(student, teachers, weighting=kd.weighting.Screening(keep=2))

    Reference:
        Gu et al. 2023, doi:10.16157/j.issn.0258-7998.233812: teachers with a greater cross-entropy
        are screened out, and better ones have larger weights.
    """

    def __init__(
        self,
        keep: int | None = None,
        threshold: float | None = None,
        then: Weighting | None = None,
    ) -> None:
        if (keep is None) == (threshold is None):
            raise ValueError(
                "Screening: pass either `keep` or `threshold`. "
                f"Received: keep={keep}, threshold={threshold}"
            )
        if keep is not None and (keep != int(keep) or keep < 1):
            raise ValueError(
                f"Screening: `keep` must be an integer of at least 1. Received: keep={keep}"
            )
        if threshold is not None and not 0 <= threshold < float("inf"):
            raise ValueError(
                "Screening: `threshold` must be a finite number of nats, at least 0. "
                f"Received: threshold={threshold}"
            )
        self.keep = keep
        self.threshold = threshold
        self.then = then or CrossEntropy()

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Compute the weights; see the base class."""
        costs = entropy(teacher_logits)
        if labels is not None:
            losses, labeled = cross_entropy(teacher_logits, labels)
            costs = ops.where(labeled, losses, costs)
        if self.keep is not None:
            ranks = ops.argsort(ops.argsort(costs, axis=0), axis=0)
            passes = ranks < self.keep
        else:
            passes = costs <= ops.min(costs, axis=0, initial=math.inf) + self.threshold
        return self.then.call(teacher_logits, labels, kept * ops.cast(passes, kept.dtype))

    def check(self, teachers: int) -> None:
        """Raise a `ValueError` if `keep` is larger than the number of teachers."""
        if self.keep is not None and self.keep > teachers:
            raise ValueError(
                f"Screening: there are {teachers} teachers, so `keep` must be at most {teachers}. "
                f"Received: keep={self.keep}"
            )
        self.then.check(teachers)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        then = keras.saving.serialize_keras_object(self.then)
        return {"keep": self.keep, "threshold": self.threshold, "then": then}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Screening":
        """Create the weighting from `get_config`."""
        then = keras.saving.deserialize_keras_object(config["then"])
        return cls(**{**config, "then": then})


def entropy(logits: Any) -> Any:
    """Return the entropy of the softmax in nats, (teachers, batch), averaged over positions."""
    log_p, mask = ops.log_softmax(logits, axis=-1), get_mask(logits)
    values = -ops.sum(ops.exp(log_p) * log_p, axis=-1)
    axes = tuple(range(2, len(values.shape)))
    if mask is not None:
        counted = ops.cast(mask, values.dtype)
        return ops.sum(values * counted, axis=axes) / ops.maximum(ops.sum(counted, axis=axes), 1)
    return ops.mean(values, axis=axes) if axes else values


def cross_entropy(logits: Any, labels: Any) -> tuple[Any, Any]:
    """Return the cross-entropy of each teacher on the labels, and which samples have one.

    Args:
        logits: (teachers, batch, ..., classes).
        labels: Integers (batch, ...) or one-hot (batch, ..., classes).

    Returns:
        (teachers, batch) in nats, averaged over the labeled positions, and a boolean (batch,).
    """
    return class_error(logits, labels)


def _uniform(kept: Any) -> Any:
    return kept / ops.maximum(ops.sum(kept, axis=0), 1)


def _normalize(values: Any, kept: Any) -> Any:
    """Return the values divided by their sum; equal weights of the kept teachers if all are 0."""
    total = ops.sum(values, axis=0)
    return ops.where(total > 0, values / ops.where(total > 0, total, 1), _uniform(kept))


def _complement(parts: Any, kept: Any) -> Any:
    """Return (1 − part) / (n − 1) for the n kept teachers; 1 for a single one.

    Args:
        parts: (teachers, batch), summing to 1 over the kept teachers.
        kept: (teachers, batch), 1 for each kept teacher.
    """
    others = ops.sum(kept, axis=0) - 1
    # The sum of the other parts keeps the digits that 1 − part would lose.
    all_others = 1 - ops.eye(parts.shape[0], dtype=parts.dtype)
    weights = ops.matmul(all_others, parts) * kept / ops.maximum(others, 1)
    return ops.where(others > 0, weights, kept)
