"""How much each teacher counts, sample by sample."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.training.labels import class_indices


class Weighting:
    """Weights of several teachers from what they say of a batch; the base of all weightings.

    Subclasses override `call`. Calling one gives weights of shape (teachers, batch) that sum to 1
    over the teachers.

    Example:
        >>> weights = kd.weighting.CrossEntropy()(teacher_logits, labels)  # (teachers, batch)
    """

    def __call__(self, teacher_logits: Any, labels: Any = None, kept: Any = None) -> Any:
        """Weighs the teachers.

        Args:
            teacher_logits: (teachers, batch, classes), or (teachers, batch, ..., classes) for dense
                prediction; in float32 or lower, computed in float32.
            labels: Integers (batch, ...), one-hot (batch, ..., classes) or `None`. Labels of -1
                and rows of NaN mean no label.
            kept: (teachers, batch), 1 for a teacher that may count for a sample and 0 for one that
                may not. Defaults to all.

        Returns:
            (teachers, batch), summing to 1 over the teachers (to 0 where none may count).
        """
        logits = ops.convert_to_tensor(teacher_logits)
        if keras.backend.standardize_dtype(logits.dtype) != "float64":
            logits = ops.cast(logits, "float32")
        if kept is None:
            kept = ops.ones(ops.shape(logits)[:2], logits.dtype)
        return self.call(logits, labels, kept)

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Weighs the teachers that are kept.

        Args:
            teacher_logits: (teachers, batch, ..., classes).
            labels: As in `__call__`.
            kept: (teachers, batch), 1 for a teacher that counts for a sample and 0 for one that was
                screened out; at least one counts.

        Returns:
            (teachers, batch), 0 where `kept` is 0.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define `call`.")

    def check(self, teachers: int) -> None:
        """Refuses a number of teachers that the weighting does not fit; the base refuses none."""

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Weighting":
        """Makes the weighting from `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_kd")
class Uniform(Weighting):
    """Every teacher counts the same: 1/K.

    Example:
        >>> kd.Distiller(student, teachers, weighting=kd.weighting.Uniform())
    """

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Weighs the teachers; see the base class."""
        return _even(kept)


@keras.saving.register_keras_serializable(package="keras_kd")
class Fixed(Weighting):
    """Each teacher has a weight of its own, the same for every sample.

    Args:
        weights: One number for each teacher, not negative; divided by their sum.

    Raises:
        ValueError: When a weight is negative or not finite, or all are 0.

    Example:
        >>> kd.Distiller(student, [big, small], weighting=kd.weighting.Fixed([2, 1]))
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = [float(weight) for weight in weights]
        if not all(0 <= weight < float("inf") for weight in self.weights) or not any(self.weights):
            raise ValueError(
                "Fixed: `weights` must be finite numbers, none negative and one above 0. "
                f"Received: weights={weights}"
            )

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Weighs the teachers; see the base class."""
        weights = ops.convert_to_tensor(self.weights, dtype=kept.dtype)
        return _shares(ops.expand_dims(weights, 1) * kept, kept)

    def check(self, teachers: int) -> None:
        """Refuses another number of teachers than of weights."""
        if len(self.weights) != teachers:
            raise ValueError(
                f"Fixed: there are {teachers} teachers, so there must be {teachers} weights. "
                f"Received: weights={self.weights}"
            )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"weights": self.weights}


@keras.saving.register_keras_serializable(package="keras_kd")
class Entropy(Weighting):
    """The surer a teacher is of a sample, the more it counts; no labels are needed.

    With H_k the entropy of teacher k's softmax: w_k = (1 − H_k / Σ_j H_j) / (K − 1).

    Example:
        >>> kd.Distiller(student, teachers, weighting=kd.weighting.Entropy())

    Reference:
        Kwon et al. 2020, "Adaptive knowledge distillation based on entropy". Golden: `ebkd`.
    """

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Weighs the teachers; see the base class."""
        entropies = entropy(teacher_logits) * kept
        total = ops.sum(entropies, axis=0)
        # Teachers that are all quite sure count the same.
        parts = ops.where(total > 0, entropies / ops.where(total > 0, total, 1), _even(kept))
        return _complement(parts, kept)


@keras.saving.register_keras_serializable(package="keras_kd")
class CrossEntropy(Weighting):
    """The nearer a teacher's prediction is to the label, the more it counts.

    With L_k the cross-entropy of teacher k with the label:
    w_k = (1 − softmax_k(L)) / (K − 1). Samples without a label are weighed by `Entropy`.

    Example:
        >>> kd.Distiller(student, teachers, weighting=kd.weighting.CrossEntropy())

    Reference:
        Zhang et al. 2022 (CA-MKD), arXiv:2201.00007, equations 2 and 3. Golden: `camkd`.
    """

    def call(self, teacher_logits: Any, labels: Any, kept: Any) -> Any:
        """Weighs the teachers; see the base class."""
        unsupervised = Entropy().call(teacher_logits, None, kept)
        if labels is None:
            return unsupervised
        losses, labelled = cross_entropy(teacher_logits, labels)
        # Subtracting the worst kept loss leaves the softmax as it is and cannot overflow.
        worst = ops.max(losses * kept, axis=0)
        parts = ops.exp(ops.minimum(losses - worst, 0)) * kept
        supervised = _complement(parts / ops.sum(parts, axis=0), kept)
        return ops.where(labelled, supervised, unsupervised)


@keras.saving.register_keras_serializable(package="keras_kd")
class Screening(Weighting):
    """Drops, for each sample, the teachers that do worse than the others, and weighs the rest.

    A teacher does worse the greater its cross-entropy with the label is; for a sample without a
    label, the greater its entropy.

    Args:
        keep: How many teachers are kept for each sample. Exactly so many are, ties broken by their
            order.
        threshold: Instead of `keep`: a teacher is dropped where its cross-entropy is greater than
            the best one's by more than so many nats.
        then: How those that are kept are weighed. Defaults to `CrossEntropy()`.

    Raises:
        ValueError: When not exactly one of `keep` and `threshold` is given, `keep` is below 1 or
            `threshold` negative.

    Example:
        >>> kd.Distiller(student, teachers, weighting=kd.weighting.Screening(keep=2))

    Reference:
        Gu et al. 2023, multi-teacher distillation with screening: teachers with a greater
        cross-entropy are screened out and the better ones have more say.
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
                f"Screening: `keep` must be a whole number of at least 1. Received: keep={keep}"
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
        """Weighs the teachers; see the base class."""
        costs = entropy(teacher_logits)
        if labels is not None:
            losses, labelled = cross_entropy(teacher_logits, labels)
            costs = ops.where(labelled, losses, costs)
        if self.keep is not None:
            ranks = ops.argsort(ops.argsort(costs, axis=0), axis=0)
            stays = ranks < self.keep
        else:
            stays = costs <= ops.min(costs, axis=0) + self.threshold
        return self.then.call(teacher_logits, labels, kept * ops.cast(stays, kept.dtype))

    def check(self, teachers: int) -> None:
        """Refuses to keep more teachers than there are."""
        if self.keep is not None and self.keep > teachers:
            raise ValueError(
                f"Screening: there are {teachers} teachers, so `keep` must be at most {teachers}. "
                f"Received: keep={self.keep}"
            )
        self.then.check(teachers)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        then = keras.saving.serialize_keras_object(self.then)
        return {"keep": self.keep, "threshold": self.threshold, "then": then}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Screening":
        """Makes the weighting from `get_config`."""
        then = keras.saving.deserialize_keras_object(config["then"])
        return cls(**{**config, "then": then})


def entropy(logits: Any) -> Any:
    """Entropy of the softmax in nats, the mean over the pixels of a map: (teachers, batch)."""
    log_p = ops.log_softmax(logits, axis=-1)
    return _over_pixels(-ops.sum(ops.exp(log_p) * log_p, axis=-1))


def cross_entropy(logits: Any, labels: Any) -> tuple[Any, Any]:
    """Cross-entropy of each teacher with the label, and which samples have one.

    Args:
        logits: (teachers, batch, ..., classes).
        labels: Integers (batch, ...) or one-hot (batch, ..., classes).

    Returns:
        (teachers, batch) in nats, the mean over the labelled pixels of a map, and a boolean
        (batch,).
    """
    target = class_indices(labels, logits.shape[1:])
    known = ops.logical_and(target >= 0, target < logits.shape[-1])
    one_hot = ops.one_hot(ops.where(known, target, 0), logits.shape[-1], dtype=logits.dtype)
    values = -ops.sum(ops.log_softmax(logits, axis=-1) * one_hot, axis=-1)
    counted = ops.cast(known, logits.dtype)
    axes = tuple(range(1, len(known.shape)))
    if not axes:
        return values * counted, known
    pixels = ops.sum(counted, axis=axes)
    sums = ops.sum(values * counted, axis=tuple(axis + 1 for axis in axes))
    return sums / ops.maximum(pixels, 1), pixels > 0


def _over_pixels(values: Any) -> Any:
    axes = tuple(range(2, len(values.shape)))
    return ops.mean(values, axis=axes) if axes else values


def _even(kept: Any) -> Any:
    return kept / ops.maximum(ops.sum(kept, axis=0), 1)


def _shares(values: Any, kept: Any) -> Any:
    """Values as parts of their sum; where all are 0, the same for every kept teacher."""
    total = ops.sum(values, axis=0)
    return ops.where(total > 0, values / ops.where(total > 0, total, 1), _even(kept))


def _complement(parts: Any, kept: Any) -> Any:
    """(1 − part) / (n − 1) for the n kept teachers, whose parts sum to 1; 1 for a single one."""
    others = ops.sum(kept, axis=0) - 1
    # The sum of the other parts keeps the digits that 1 − part would lose.
    everyone_else = 1 - ops.eye(parts.shape[0], dtype=parts.dtype)
    weights = ops.matmul(everyone_else, parts) * kept / ops.maximum(others, 1)
    return ops.where(others > 0, weights, kept)
