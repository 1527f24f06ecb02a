"""All the teachers at work on one batch: asked once, weighed, perturbed, perhaps blended."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from keras_kd.models.taps import Tap
from keras_kd.teachers.knowledge import Knowledge, locate_teacher_outputs
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.teacher import Teacher
from keras_kd.teachers.weighting import Fixed, Uniform, Weighting
from keras_kd.training.labels import UNLABELED, class_indices

#: How several teachers become one lesson.
COMBINE = ("losses", "probabilities", "logits")


class Ensemble:
    """Several teachers that are asked together.

    Args:
        teachers: The teachers.
        taps: The places that each of them is asked about.
        weighting: How much each counts for each sample. Defaults to `Uniform()`.
        noise: What perturbs their words, or `None`.
        combine: `"losses"` leaves them apart; `"probabilities"` and `"logits"` blend what they say
            at the taps of logits. Defaults to `"losses"`.
        columns: For each teacher, which of the student's classes its outputs are; `None` for all of
            them in order. Defaults to `None` for every teacher.
        classes: How many classes the student has, where `columns` are given.

    Raises:
        ValueError: When a teacher does not have one of the taps, the weighting does not fit, or
            `combine` is unknown.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        taps: Sequence[Tap],
        weighting: Weighting | None = None,
        noise: LogitNoise | None = None,
        combine: str = "losses",
        columns: Sequence[Sequence[int] | None] | None = None,
        classes: int = 0,
    ) -> None:
        if combine not in COMBINE:
            raise ValueError(f"`combine` must be one of {COMBINE}. Received: combine={combine!r}")
        self.teachers = tuple(teachers)
        self.weighting = weighting or Uniform()
        self.noise = noise
        self.combine = combine
        #: Where the weights are computed: at the first tap of logits, else at the outputs.
        self.weighed_at = next((tap for tap in taps if tap.logits), Tap(None, logits=True))
        self._weighs = len(self.teachers) > 1 and not isinstance(self.weighting, (Uniform, Fixed))
        asked = [*taps, self.weighed_at] if self._weighs else list(taps)
        self.members = tuple(teacher.watch(asked) for teacher in teachers) if asked else ()
        self.columns = tuple(columns or [None] * len(self.teachers))
        self.merges = any(column is not None for column in self.columns)
        self._classes = classes
        self._check()

    def __call__(self, x: Any, labels: Any = None, replica: Any = 0) -> Knowledge:
        """Runs each teacher once.

        Args:
            x: A batch, as the student gets it.
            labels: The labels of the output that the teachers are weighed at, or `None`.
            replica: Number of the replica, for the noise. Defaults to 0.

        Returns:
            The `Knowledge` of this batch.
        """
        return self.weigh([member(x) for member in self.members], labels, replica)

    def weigh(
        self, teacher_outputs: Sequence[dict[Tap, Any]], labels: Any = None, replica: Any = 0
    ) -> Knowledge:
        """Weighs, perturbs and perhaps blends what the teachers said, now or long ago.

        Args:
            teacher_outputs: For each teacher a dict from tap to tensor (batch, ...).
            labels: As in `__call__`.
            replica: As in `__call__`.

        Returns:
            The `Knowledge` of this batch.
        """
        weights = self._weights(teacher_outputs, labels)
        if self.noise is not None:
            teacher_outputs = [self._perturbed(outputs, replica) for outputs in teacher_outputs]
        return Knowledge(tuple(teacher_outputs), weights, self._blended(teacher_outputs, weights))

    def locate(
        self, teacher_outputs: Mapping[str, Any], inputs: Any
    ) -> list[dict[Tap, tuple[str, str]]]:
        """Where a `Lesson` holds what each teacher said; see `recorded.find`."""
        taps = [list(member.shapes) for member in self.members]
        return locate_teacher_outputs(
            self.teachers if self.members else (), taps, teacher_outputs, inputs
        )

    def _weights(self, teacher_outputs: Sequence[dict[Tap, Any]], labels: Any) -> Any:
        if len(teacher_outputs) < 2:
            return None
        if not self._weighs:
            first = next(iter(teacher_outputs[0].values()))
            everyone = ops.ones((len(teacher_outputs), ops.shape(first)[0]), "float32")
            kept = self._knowing(everyone, labels) if self.merges else everyone
            return self.weighting.call(None, labels, kept)
        return self.weighting(
            ops.stack([outputs[self.weighed_at] for outputs in teacher_outputs]), labels
        )

    def _knowing(self, everyone: Any, labels: Any) -> Any:
        """Which teachers know the class of each sample; of a sample without a label, all do."""
        if labels is None:
            return everyone
        shape = next(member.shapes[self.weighed_at] for member in self.members)
        target = class_indices(labels, (*shape[:-1], self._classes))
        # A label that the loss ignores names no class either.
        target = ops.where(target < self._classes, target, UNLABELED)
        known = [
            ops.ones(self._classes) if column is None else _membership(column, self._classes)
            for column in self.columns
        ]
        knows = ops.take(ops.stack(known), ops.maximum(target, 0), axis=1)
        knows = ops.where(target >= 0, knows, 1.0)
        # On a map a teacher teaches if it knows one of the sample's pixels.
        axes = tuple(range(2, len(knows.shape)))
        return ops.max(knows, axis=axes) if axes else knows

    def _perturbed(self, outputs: dict[Tap, Any], replica: Any) -> dict[Tap, Any]:
        return {
            tap: self.noise(value, replica=replica)
            if tap.logits or tap.name in self.noise.taps
            else value
            for tap, value in outputs.items()
        }

    def _blended(self, teacher_outputs: Sequence[dict[Tap, Any]], weights: Any) -> dict[Tap, Any]:
        if self.combine == "losses" or weights is None:
            return {}
        return {
            tap: self._blend([outputs[tap] for outputs in teacher_outputs], weights)
            for tap in teacher_outputs[0]
            if tap.logits
        }

    def _blend(self, logits: Sequence[Any], weights: Any) -> Any:
        if self.merges:
            return _merged(logits, self.columns, self._classes)
        stacked = ops.cast(ops.stack(logits), weights.dtype)
        extra = len(stacked.shape) - len(weights.shape)
        weights = ops.reshape(weights, (*ops.shape(weights), *[1] * extra))
        if self.combine == "logits":
            return ops.sum(weights * stacked, axis=0)
        # log Σ w·p without leaving log space; a teacher that was screened out has log w = -inf.
        safe = ops.log(ops.where(weights > 0, weights, 1))
        log_weights = ops.where(weights > 0, safe, -math.inf)
        return ops.logsumexp(log_weights + ops.log_softmax(stacked, axis=-1), axis=0)

    def _check_binary(self) -> None:
        """Refuses what reads a sigmoid as one class of several."""
        speaks = self._weighs or self.combine == "probabilities"
        for member in self.members if speaks and len(self.members) > 1 else ():
            for tap in member.shapes:
                binary = member.activations.get(tap) == "sigmoid" or member.shapes[tap][-1] == 1
                if tap.logits and binary:
                    raise ValueError(
                        f"Teacher '{member.teacher.name}' has binary outputs (a sigmoid), but "
                        "weightings other than kd.weighting.Uniform and Fixed, and "
                        "combine='probabilities', read them as one class of several. Pass "
                        "combine='losses' or 'logits' with Uniform or Fixed."
                    )

    def _check(self) -> None:
        self.weighting.check(len(self.teachers))
        self._check_binary()
        watched = {tap.name for member in self.members for tap in member.shapes}
        if self.noise is not None and not set(self.noise.taps) <= watched:
            raise ValueError(
                "LogitNoise: `taps` must be hidden taps of the teacher that a loss uses: "
                f"{sorted(filter(None, watched))}. Received: taps={self.noise.taps}"
            )
        if self.merges and self._weighs:
            raise ValueError(
                f"{type(self.weighting).__name__} weighs teachers by what they say of the same "
                "classes; teachers with `classes` of their own take kd.weighting.Uniform or Fixed. "
                "A teacher that does not know a sample's label does not count for it anyway."
            )
        if self.merges and self.combine == "logits" and not isinstance(self.weighting, Uniform):
            raise ValueError(
                "combine='logits' with teachers that have `classes` of their own takes the mean "
                "where several know a class, so it has no weights. Pass weighting=None."
            )
        if self.merges and self.combine == "probabilities":
            raise ValueError(
                "combine='probabilities' has no meaning for teachers with `classes` of their own: "
                "a teacher gives no probability to a class that it does not know. Pass "
                "combine='logits' (needed without labels) or 'losses'."
            )
        if self.merges:
            unknown = set(range(self._classes)) - {c for cs in self.columns for c in cs or ()}
            if unknown and None not in self.columns and self.combine == "logits":
                raise ValueError(
                    f"combine='logits' needs a teacher for every class. Received: none for the "
                    f"classes {sorted(unknown)}"
                )


def _membership(column: Sequence[int], classes: int) -> Any:
    return ops.sum(ops.one_hot(ops.convert_to_tensor(list(column)), classes), axis=0)


def _merged(logits: Sequence[Any], columns: Sequence[Any], classes: int) -> Any:
    """One vector of logits over all classes from teachers that know some of them.

    Logits say nothing of classes that a teacher does not know, and each teacher's are only defined
    up to a constant. Each teacher's are therefore centred: their mean over its own classes is taken
    away. A teacher that recognises nothing is then near nought everywhere, and one that is sure
    stands out; classes that several teachers know get the mean.
    """
    total, count = 0.0, 0.0
    for values, column in zip(logits, columns, strict=True):
        own = ops.arange(classes) if column is None else ops.convert_to_tensor(list(column))
        places = ops.one_hot(own, classes, dtype=values.dtype)
        centred = values - ops.mean(values, axis=-1, keepdims=True)
        total = total + ops.matmul(centred, places)
        count = count + ops.sum(places, axis=0)
    return total / count
