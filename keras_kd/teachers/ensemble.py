"""Several teachers on one batch: run, weighted, perturbed and combined."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras import ops

from keras_kd.models.taps import Tap
from keras_kd.models.task import MEANINGS
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.knowledge import Knowledge, locate_teacher_outputs
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.weighting import Fixed, Uniform, Weighting
from keras_kd.training.labels import UNLABELED, class_indices

#: What is averaged over several teachers.
COMBINE = ("losses", "probabilities", "logits")


class Ensemble:
    """Several teachers that run together.

    Args:
        teachers: The teachers.
        taps: The taps of each teacher that the losses use.
        weighting: Weights of the teachers per sample. Defaults to `Uniform()`.
        noise: Noise on the teacher outputs, or `None`.
        combine: `"losses"` keeps the outputs apart; `"probabilities"` and `"logits"` average them
            at the taps of logits. Defaults to `"losses"`.
        columns: For each teacher the student's class of each of its outputs; `None` for all classes
            in order. Defaults to `None` for every teacher.
        classes: Number of the student's classes, needed with `columns`.

    Raises:
        ValueError: If a teacher does not have one of the taps, or the arguments do not fit.
    """

    def __init__(
        self,
        teachers: Sequence[BaseTeacher],
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
        #: The tap whose logits determine the weights: the first one of logits, else the output.
        self.weighting_tap = next((tap for tap in taps if tap.logits), Tap(None, logits=True))
        #: Whether the weights depend on the teacher outputs.
        self._adaptive = len(self.teachers) > 1 and not isinstance(self.weighting, (Uniform, Fixed))
        watched = [*taps, self.weighting_tap] if self._adaptive else list(taps)
        self.members = tuple(teacher.watch(watched) for teacher in teachers) if watched else ()
        self.columns = tuple(columns or [None] * len(self.teachers))
        #: Whether a teacher has other classes than the student.
        self._merges_classes = any(column is not None for column in self.columns)
        self._classes = classes
        self.weighting.check(len(self.teachers))
        self._check_binary()
        self._check_noise()
        if self._merges_classes:
            self._check_merging()

    def __call__(self, x: Any, labels: Any = None, replica: Any = 0) -> Knowledge:
        """Run each teacher once."""
        return self.combine_outputs([member(x) for member in self.members], labels, replica)

    def combine_outputs(
        self, teacher_outputs: Sequence[dict[Tap, Any]], labels: Any = None, replica: Any = 0
    ) -> Knowledge:
        """Weight, perturb and combine teacher outputs, live or from a cache.

        Args:
            teacher_outputs: For each teacher a dict from tap to tensor (batch, ...).
            labels: As in `__call__`.
            replica: As in `__call__`.
        """
        weights = self._compute_weights(teacher_outputs, labels)
        if self.noise is not None:
            teacher_outputs = [self._add_noise(outputs, replica) for outputs in teacher_outputs]
        combined = {}
        if self.combine != "losses" and weights is not None:
            combined = {
                tap: self._combine_logits([outputs[tap] for outputs in teacher_outputs], weights)
                for tap in teacher_outputs[0]
                if tap.logits
            }
        return Knowledge(tuple(teacher_outputs), weights, combined)

    def locate_teacher_outputs(
        self, teacher_outputs: Mapping[str, Any], inputs: Any
    ) -> list[dict[Tap, tuple[str, str]]]:
        """Return the keys of the teachers' taps in joined data; see `locate_teacher_outputs`."""
        teachers = [member.teacher for member in self.members]
        taps = [list(member.shapes) for member in self.members]
        return locate_teacher_outputs(teachers, taps, teacher_outputs, inputs)

    def _compute_weights(self, teacher_outputs: Sequence[dict[Tap, Any]], labels: Any) -> Any:
        if len(teacher_outputs) < 2:
            return None
        if self._adaptive:
            logits = ops.stack([outputs[self.weighting_tap] for outputs in teacher_outputs])
            return self.weighting(logits, labels)
        first = next(iter(teacher_outputs[0].values()))
        kept = ops.ones((len(teacher_outputs), ops.shape(first)[0]), "float32")
        if self._merges_classes and labels is not None:
            kept = self._know_labels(labels)
        return self.weighting.call(None, labels, kept)

    def _know_labels(self, labels: Any) -> Any:
        """Return (teachers, batch): 1 if the teacher has the sample's class, or it has no label."""
        shape = next(member.shapes[self.weighting_tap] for member in self.members)
        target = class_indices(labels, (*shape[:-1], self._classes))
        # A label outside the classes, which the loss ignores, counts as no label.
        target = ops.where(target < self._classes, target, UNLABELED)
        known = [
            ops.ones(self._classes) if column is None else _class_mask(column, self._classes)
            for column in self.columns
        ]
        knows = ops.take(ops.stack(known), ops.maximum(target, 0), axis=1)
        knows = ops.where(target >= 0, knows, 1.0)
        # In dense prediction a teacher counts for a sample if it has the class of one position.
        axes = tuple(range(2, len(knows.shape)))
        return ops.max(knows, axis=axes) if axes else knows

    def _add_noise(self, outputs: dict[Tap, Any], replica: Any) -> dict[Tap, Any]:
        return {
            tap: self.noise(value, replica=replica)
            if tap.logits or tap.name in self.noise.taps
            else value
            for tap, value in outputs.items()
        }

    def _combine_logits(self, logits: Sequence[Any], weights: Any) -> Any:
        if self._merges_classes:
            return _merge_classes(logits, self.columns, self._classes)
        stacked = ops.cast(ops.stack(logits), weights.dtype)
        extra = len(stacked.shape) - len(weights.shape)
        weights = ops.reshape(weights, (*ops.shape(weights), *[1] * extra))
        if self.combine == "logits":
            return ops.sum(weights * stacked, axis=0)
        # log(sum(w * p)) in log space; log(w) of a teacher without weight is -inf.
        safe = ops.log(ops.where(weights > 0, weights, 1))
        log_weights = ops.where(weights > 0, safe, -math.inf)
        return ops.logsumexp(log_weights + ops.log_softmax(stacked, axis=-1), axis=0)

    def check_task(self, task: str | None) -> None:
        """Reject weights that are computed from classes, for an output of another task.

        Raises:
            ValueError: If the weighting depends on the teacher outputs.
        """
        if self._adaptive and task not in (None, "classes"):
            raise ValueError(
                f"{type(self.weighting).__name__} reads the teacher outputs as mutually exclusive "
                f"classes, but they are {MEANINGS[task]}. Pass weighting=kd.weighting.Uniform() or "
                "Fixed([...])."
            )

    def _check_binary(self) -> None:
        """Reject options that interpret a sigmoid output as one of several classes."""
        if len(self.members) < 2 or not (self._adaptive or self.combine == "probabilities"):
            return
        for member in self.members:
            for tap in member.shapes:
                binary = member.activations.get(tap) == "sigmoid" or member.shapes[tap][-1] == 1
                if tap.logits and binary:
                    raise ValueError(
                        f"Teacher '{member.teacher.name}' has binary outputs (a sigmoid), but "
                        "combine='probabilities' and weightings other than kd.weighting.Uniform "
                        "and Fixed need several classes. Pass combine='losses' or 'logits' with "
                        "Uniform or Fixed."
                    )

    def _check_noise(self) -> None:
        hidden = {tap.name for member in self.members for tap in member.shapes if tap.name}
        if self.noise is not None and not set(self.noise.taps) <= hidden:
            raise ValueError(
                "LogitNoise: `taps` must be hidden taps of the teacher that a loss uses: "
                f"{sorted(hidden)}. Received: taps={self.noise.taps}"
            )

    def _check_merging(self) -> None:
        """Reject options that need every teacher to have all classes."""
        if self._adaptive:
            raise ValueError(
                f"{type(self.weighting).__name__} compares teachers on the same classes. For "
                "teachers with `classes` use kd.weighting.Uniform or Fixed; a teacher without the "
                "sample's class has no weight for it in any case."
            )
        if self.combine == "probabilities":
            raise ValueError(
                "combine='probabilities' is not defined for teachers with `classes`: a teacher "
                "has no probability for a class that it does not have. Pass combine='logits' "
                "(required without labels) or 'losses'."
            )
        if self.combine != "logits":
            return
        if not isinstance(self.weighting, Uniform):
            raise ValueError(
                "combine='logits' with teachers that have `classes` averages all teachers of a "
                "class, without weights. Pass weighting=None."
            )
        if None not in self.columns:
            missing = set(range(self._classes)).difference(*self.columns)
            if missing:
                raise ValueError(
                    "combine='logits' needs a teacher for every class. Received: none for the "
                    f"classes {sorted(missing)}"
                )


def _class_mask(column: Sequence[int], classes: int) -> Any:
    return ops.sum(ops.one_hot(ops.convert_to_tensor(list(column)), classes), axis=0)


def _merge_classes(logits: Sequence[Any], columns: Sequence[Any], classes: int) -> Any:
    """Return logits over all classes from teachers that each have some of them.

    The logits of a teacher are defined up to a constant, so they are centered: their mean over the
    teacher's own classes is subtracted. A teacher that does not recognize a sample then has logits
    near zero, and a confident teacher has a large one. Classes of several teachers get the mean.
    """
    total, count = 0.0, 0.0
    for values, column in zip(logits, columns, strict=True):
        own = ops.arange(classes) if column is None else ops.convert_to_tensor(list(column))
        places = ops.one_hot(own, classes, dtype=values.dtype)
        centered = values - ops.mean(values, axis=-1, keepdims=True)
        total = total + ops.matmul(centered, places)
        count = count + ops.sum(places, axis=0)
    return total / count
