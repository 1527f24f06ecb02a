"""Several teachers on one batch: run, weighted, perturbed and combined."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from keras import ops

from keras_kd.models.keras_compat import get_mask, set_mask, without_mask
from keras_kd.models.taps import Tap
from keras_kd.models.task import MEANINGS
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.class_map import ClassMap
from keras_kd.teachers.knowledge import Knowledge, locate_teacher_outputs
from keras_kd.teachers.member import Member, as_two_classes
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.weighting import ByGroup, Fixed, Uniform, Weighting
from keras_kd.training.labels import UNLABELED, class_indices

# Weightings that do not depend on the teacher outputs.
_CONSTANT = (Uniform, Fixed, ByGroup)
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
        class_maps: For each teacher its classes among those of the student. Defaults to the same
            classes for every teacher.
        classes: Number of the student's classes, needed with `class_maps`.
        units: As for `Member`.

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
        class_maps: Sequence[ClassMap] | None = None,
        classes: int = 0,
        units: Mapping[Tap, int] | None = None,
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
        self._adaptive = len(self.teachers) > 1 and not isinstance(self.weighting, _CONSTANT)
        watched = [*taps, self.weighting_tap] if self._adaptive else list(taps)
        #: By tap of logits, whether they are read as those of a `"softmax"` or a `"sigmoid"`.
        self._read_as: dict[Tap, str] = {}
        self._ambiguous: dict[Tap, list[str]] = {}
        maps = class_maps or [ClassMap()] * len(self.teachers)
        self.members = tuple(
            Member(teacher.watch(watched), class_map, units)
            for teacher, class_map in zip(self.teachers if watched else (), maps, strict=False)
        )
        #: For each teacher the student's class of each of its logits; `None` for all in order.
        self.columns = tuple(one.columns for one in maps)
        #: Whether a teacher lacks some of the student's classes.
        self._merges_classes = any(column is not None for column in self.columns)
        self._classes = classes
        self.weighting.check(len(self.teachers))
        self._check_used(watched)
        self._check_heads()
        self._check_noise()
        if self._merges_classes:
            self._check_merging()

    def __call__(self, x: Any, labels: Any = None, replica: Any = 0) -> Knowledge:
        """Run each teacher once."""
        outputs = [member(x) for member in self.members]
        return self.combine_outputs(outputs, labels, replica, x=x)

    def combine_outputs(
        self,
        teacher_outputs: Sequence[dict[Tap, Any]],
        labels: Any = None,
        replica: Any = 0,
        training: bool = True,
        x: Any = None,
    ) -> Knowledge:
        """Weight, perturb and combine teacher outputs, live or from a cache.

        Args:
            teacher_outputs: For each teacher a dict from tap to tensor (batch, ...).
            labels: As in `__call__`.
            replica: As in `__call__`.
            training: Whether the noise is added. Defaults to `True`.
            x: The batch, for a weighting that reads the inputs. Defaults to `None`.
        """
        pairs = zip(self.members, teacher_outputs, strict=True)
        teacher_outputs = [member.convert(outputs) for member, outputs in pairs]
        weights = self._compute_weights(teacher_outputs, labels, x)
        unmasked = self._unmasked(teacher_outputs) if self._adaptive else ()
        if self.noise is not None and training:
            teacher_outputs = [self._add_noise(outputs, replica) for outputs in teacher_outputs]
        combined = {}
        if self.combine != "losses" and weights is not None:
            combined = {
                tap: self._combine(tap, [outputs[tap] for outputs in teacher_outputs], weights)
                for tap in teacher_outputs[0]
                if tap.logits
            }
        # A loss reads the mask of the student.
        outputs = tuple(
            {tap: without_mask(value) for tap, value in outputs.items()}
            for outputs in teacher_outputs
        )
        return Knowledge(outputs, weights, combined, unmasked)

    def read_as(self, activations: Mapping[Tap, Collection[str]]) -> None:
        """Set how logits are read where the teachers' activations are not visible.

        Args:
            activations: By tap the activations that its losses apply: `"softmax"` for classes,
                `"sigmoid"` for labels, or none if it is not known.
        """
        self._read_as = {tap: next(iter(one)) for tap, one in activations.items() if len(one) == 1}
        self._ambiguous = {tap: sorted(one) for tap, one in activations.items() if len(one) != 1}
        for member in self.members:
            member.sigmoids = {tap for tap, read in self._read_as.items() if read == "sigmoid"}

    def _require_one_reading(self, tap: Tap) -> None:
        """Reject an average of probabilities that are those of two activations, or of either."""
        visible = any(member.activations.get(tap) for member in self.members)
        found = self._ambiguous.get(tap)
        if found or (found == [] and not visible):
            read = "both classes and labels" if found else "neither classes nor labels"
            raise ValueError(
                f"combine='probabilities' averages probabilities, but the losses at {tap} of the "
                f"teachers read {read}. Pass combine='losses' or 'logits', or losses that agree, "
                "such as kd.losses.SoftTargets(activation='softmax') or (activation='sigmoid'). "
                f"Received: activations {found}"
            )

    def _is_sigmoid(self, tap: Tap) -> bool:
        if tap in self._read_as:
            return self._read_as[tap] == "sigmoid"
        return any(
            member.activations.get(tap) == "sigmoid" or member.shapes[tap][-1] == 1
            for member in self.members
        )

    def locate_teacher_outputs(
        self, teacher_outputs: Mapping[str, Any], inputs: Any
    ) -> list[dict[Tap, tuple[str, str]]]:
        """Return the keys of the teachers' taps in joined data; see `locate_teacher_outputs`."""
        teachers = [member.teacher for member in self.members]
        taps = [list(member.shapes) for member in self.members]
        return locate_teacher_outputs(teachers, taps, teacher_outputs, inputs)

    def check_masks(self, unmasked: Sequence[str], student_output: Any) -> None:
        """Reject weights by outputs of which it is not known which steps are masked.

        Args:
            unmasked: As in `Knowledge`.
            student_output: The student's output.

        Raises:
            ValueError: If the student's output has masked steps, and a teacher's has none.
        """
        if unmasked and get_mask(student_output) is not None:
            raise ValueError(
                f"{type(self.weighting).__name__} would count the masked steps of the student's "
                f"sequences: the outputs of {list(unmasked)} have no mask. A cache, a .tflite file "
                "and a teacher that does not mask the same steps have none. Pass live teachers "
                "with a mask, or kd.weighting.Uniform or Fixed."
            )

    def _unmasked(self, teacher_outputs: Sequence[dict[Tap, Any]]) -> tuple[str, ...]:
        pairs = zip(self.teachers, teacher_outputs, strict=True)
        return tuple(one.name for one, out in pairs if get_mask(out[self.weighting_tap]) is None)

    def _compute_weights(
        self, teacher_outputs: Sequence[dict[Tap, Any]], labels: Any, x: Any
    ) -> Any:
        if len(teacher_outputs) < 2:
            return None
        if self._adaptive:
            logits = [outputs[self.weighting_tap] for outputs in teacher_outputs]
            masks = [get_mask(one) for one in logits]
            if logits[0].shape[-1] == 1:
                logits = [as_two_classes(one) for one in logits]
                labels = None if labels is None else _yes_or_no(labels)
            return self.weighting(_stack_masked(logits, masks), labels)
        first = next(iter(teacher_outputs[0].values()))
        kept = ops.ones((len(teacher_outputs), ops.shape(first)[0]), "float32")
        if self._merges_classes and labels is not None:
            mask = get_mask(teacher_outputs[0].get(self.weighting_tap))
            kept = self._know_labels(labels, kept, mask)
        if isinstance(self.weighting, ByGroup):
            return self.weighting.select(x, kept)
        return self.weighting.call(None, labels, kept)

    def _know_labels(self, labels: Any, kept: Any, mask: Any) -> Any:
        """Return (teachers, batch): 1 if the teacher has the sample's class, or it has no label.

        With independent labels every teacher is kept: each teaches the labels that it has.
        """
        if self._is_sigmoid(self.weighting_tap):
            return kept
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
        if mask is not None:
            knows = ops.where(mask, knows, 0.0)
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

    def _combine(self, tap: Tap, logits: Sequence[Any], weights: Any) -> Any:
        """Return one target from the logits of all teachers at a tap."""
        if self.combine == "probabilities":
            self._require_one_reading(tap)
        sigmoid = self._is_sigmoid(tap)
        if self._merges_classes:
            return _merge_classes(logits, self.columns, self._classes, shifted=not sigmoid)
        stacked = ops.cast(ops.stack(logits), weights.dtype)
        extra = len(stacked.shape) - len(weights.shape)
        weights = ops.reshape(weights, (*ops.shape(weights), *[1] * extra))
        if self.combine == "logits":
            return ops.sum(weights * stacked, axis=0)
        if sigmoid:
            yes, no = ops.log_sigmoid(stacked), ops.log_sigmoid(-stacked)
            return _log_mean(yes, weights) - _log_mean(no, weights)
        return _log_mean(ops.log_softmax(stacked, axis=-1), weights)

    def check_task(self, tap: Tap, task: str | None) -> None:
        """Reject options that interpret labels or numbers as one of several classes.

        Args:
            tap: A tap of logits.
            task: The task of its output, or `None` if it is not known.

        Raises:
            ValueError: If the weighting, the combination or a conversion needs classes.
        """
        adaptive = self._adaptive and tap == self.weighting_tap
        if adaptive and task in ("labels", "values"):
            raise ValueError(
                f"{type(self.weighting).__name__} reads the teacher outputs as mutually exclusive "
                f"classes, but they are {MEANINGS[task]}. Pass weighting=kd.weighting.Uniform() or "
                "Fixed([...])."
            )
        if task == "values" and len(self.members) > 1 and self.combine == "probabilities":
            raise ValueError(
                "combine='probabilities' needs classes or labels, but the outputs are "
                f"{MEANINGS[task]}. Pass combine='losses' or 'logits'."
            )
        for member in self.members if task == "values" else ():
            member.require_unconverted(tap)

    def _check_heads(self) -> None:
        """Reject options that contradict the visible activations; see `check_task`."""
        for member in self.members:
            for tap, kind in member.kinds.items():
                labels = kind == "sigmoid" and member.shapes[tap][-1] > 1
                if labels or kind == "values":
                    self.check_task(tap, "labels" if labels else "values")

    def _check_used(self, taps: Sequence[Tap]) -> None:
        """Reject a dictionary of teachers of which no loss uses one."""
        for teacher in self.teachers:
            if unused := teacher.unused_outputs(taps):
                raise ValueError(
                    f"Distiller: no loss uses the teachers of the outputs {unused}. Pass a "
                    "dictionary of teachers by the names of the student's outputs, and losses for "
                    f"each of these. Received: losses at the taps {[tap.name for tap in taps]}"
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


def _stack_masked(logits: Sequence[Any], masks: Sequence[Any]) -> Any:
    """Return the logits of the teachers, stacked, with their Keras masks, if one has a mask."""
    stacked = ops.stack(logits)
    if all(mask is None for mask in masks):
        return stacked
    first = next(mask for mask in masks if mask is not None)
    masks = [ops.ones_like(first) if mask is None else mask for mask in masks]
    return set_mask(stacked, ops.stack(masks))


def _class_mask(column: Sequence[int], classes: int) -> Any:
    return ops.sum(ops.one_hot(ops.convert_to_tensor(list(column)), classes), axis=0)


def _yes_or_no(labels: Any) -> Any:
    """Return labels of 0 and 1 as class indices, `UNLABELED` where there is none."""
    labels = ops.cast(labels, "float32")
    yes = ops.cast(labels > 0.5, "int32")
    return ops.where(labels >= 0, yes, UNLABELED)  # Comparisons with NaN are false.


def _log_mean(log_p: Any, weights: Any) -> Any:
    """Return log(sum(w * p)) over the teachers, in log space."""
    safe = ops.log(ops.where(weights > 0, weights, 1))
    # log(w) of a teacher without weight is -inf.
    return ops.logsumexp(ops.where(weights > 0, safe, -math.inf) + log_p, axis=0)


def _merge_classes(
    logits: Sequence[Any], columns: Sequence[Any], classes: int, shifted: bool
) -> Any:
    """Return logits over all classes from teachers that each have some of them.

    The logits of a softmax may be shifted by a constant, so they are centered: their mean over the
    teacher's own classes is subtracted. A teacher that does not recognize a sample then has logits
    near zero, and a confident teacher has a large one. Classes of several teachers get the mean.
    The logits of a sigmoid are not shifted.
    """
    total, count = 0.0, 0.0
    for values, column in zip(logits, columns, strict=True):
        own = ops.arange(classes) if column is None else ops.convert_to_tensor(list(column))
        places = ops.one_hot(own, classes, dtype=values.dtype)
        mean = ops.mean(values, axis=-1, keepdims=True) if shifted else 0.0
        total = total + ops.matmul(values - mean, places)
        count = count + ops.sum(places, axis=0)
    return total / count
