"""The distillation losses of one student: where their targets come from, and their values."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_kd.distillers.objective import Objective
from keras_kd.distillers.shared_inputs import check_inputs
from keras_kd.losses import DistillationLoss, SoftTargets
from keras_kd.losses import get as get_loss
from keras_kd.losses.reduction import mean_over_samples, mean_per_sample
from keras_kd.models.declaration import Declaration, check_declaration
from keras_kd.models.keras_compat import get_mask, set_mask
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.knowledge import JoinedInputs, Knowledge
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.shared_weights import check_shared_weights
from keras_kd.teachers.teacher import Teacher, as_teachers, class_columns, replicate_teacher
from keras_kd.teachers.weighting import Weighting
from keras_kd.training.label_checks import per_output, sample_weights
from keras_kd.training.labels import UNLABELED, class_indices

#: Names in the history, and owners of hyperparameters, that no distillation loss may have.
_RESERVED = ("loss", "student_loss", "noise")


class DistillationObjective(Objective):
    """The distillation losses of one student, with their teachers and projectors.

    It holds the part of a checkpoint that belongs to them: projectors, hyperparameters and the
    state of the noise. It runs the teachers, which are not part of it.

    Args:
        student: The student.
        losses: As for `Distiller`.
        teachers: As for `Distiller`, or `None` for now.
        student_outputs: As for `Distiller`.
        weighting: As for `Distiller`.
        noise: As for `Distiller`.
        combine: As for `Distiller`.
        class_names: As for `Distiller`.
        tapped: Makes the model that returns the student's taps. Defaults to `TappedModel`.
        during: Whether the targets are the student's own outputs in the same pass, at the taps of
            `teachers`, which are not run. Defaults to `False`.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a tap does not exist, or teachers, student and losses do not fit.
    """

    def __init__(
        self,
        student: keras.Model,
        losses: str | DistillationLoss | Sequence[str | DistillationLoss] | None,
        teachers: Any,
        student_outputs: Declaration = "auto",
        weighting: Weighting | None = None,
        noise: LogitNoise | None = None,
        combine: str = "losses",
        class_names: Sequence[str] | None = None,
        tapped: Callable[..., TappedModel] = TappedModel,
        during: bool = False,
    ) -> None:
        super().__init__(name="objective", autocast=False)
        _check_arguments(weighting, noise, class_names, student_outputs)
        self.terms = as_losses(losses)
        self.weighting = weighting
        self.noise = noise
        self.combine = combine
        self.class_names = None if class_names is None else list(class_names)
        self.student_outputs = student_outputs
        self.during = during
        #: Whether the frozen teachers teach; `SelfDistiller` waits for its first snapshot.
        self.active = True
        self.projectors = {}
        first = as_teachers(teachers)[0].model if teachers else None
        for loss in self.terms:
            loss.choose_taps(first, student)
        taps = tree.flatten([student_tap(loss) for loss in self.terms])
        self.student = tapped(student, taps, outputs=student_outputs, training=True)
        self.names = _unique(loss.name for loss in self.terms)
        self.teacher_shapes = None
        self.ensemble = None
        self.built = True
        if teachers is not None:
            self.set_teachers(teachers)

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        """The frozen teachers."""
        return self.ensemble.teachers if self.ensemble and not self.during else ()

    def set_teachers(self, teachers: Any) -> None:
        """Set the teachers; see `Distiller.set_teachers`."""
        taps = [teacher_tap(loss) for loss in self.terms]
        teachers = [replicate_teacher(teacher) for teacher in as_teachers(teachers)]
        if taps and not teachers:
            raise ValueError(
                "Distiller: with distillation losses there must be at least one teacher; pass "
                "`losses=[]` to train from labels alone. Received: teachers=[]"
            )
        classes = self._count_classes()
        if self.class_names is not None and len(self.class_names) != classes:
            raise ValueError(
                f"Distiller: the student has {classes} classes, so there must be as many "
                f"`class_names`. Received: class_names={self.class_names}"
            )
        ensemble = Ensemble(
            teachers,
            tree.flatten(taps),
            self.weighting,
            self.noise,
            self.combine,
            [class_columns(teacher, classes, self.class_names) for teacher in teachers],
            classes,
        )
        for member in ensemble.members:
            check_inputs(member.teacher, self.student.model)
            if not self.during:
                check_shared_weights(member.teacher, self.student.model)
            for loss, tap in zip(self.terms, taps, strict=True):
                for place in tree.flatten(tap):
                    loss.check_head(member.activations.get(place), member.shapes[place])
        self.ensemble = ensemble
        self.connect([[_each(tap, member.shapes) for tap in taps] for member in ensemble.members])

    def _count_classes(self) -> int:
        """Return the number of classes of the student's first output of logits."""
        taps = [tap for tap in self.student.taps if tap.logits]
        return self.student.shapes[taps[0]][-1] if taps else 0

    def connect(self, teacher_shapes: Sequence[Sequence[Any]]) -> None:
        """Create the projectors for teachers whose taps have these shapes.

        Args:
            teacher_shapes: For each teacher, the shape (or shapes) at the taps of each loss.
        """
        known = self.teacher_shapes == teacher_shapes
        projectors = {}
        for k, shapes in enumerate(teacher_shapes):
            for i, loss in enumerate(self.terms):
                if loss.on_logits and self.ensemble is None:
                    continue  # Loaded from a file: no projector, and no teacher to check.
                student_shape = _each(student_tap(loss), self.student.shapes)
                columns = self._columns(k) if loss.on_logits else None
                if columns is not None:
                    student_shape = (*student_shape[:-1], len(columns))
                key = self._key(i, k, len(teacher_shapes))
                if known and key in self.projectors:
                    continue
                projector = loss.make_projector(shapes[i], student_shape)
                if projector is not None:
                    if not projector.built:
                        projector.build(student_shape)
                    projectors[key] = projector
        if not known:
            self.projectors = projectors
        self.teacher_shapes = teacher_shapes

    def _columns(self, teacher: int) -> list[int] | None:
        return self.ensemble.columns[teacher] if self.ensemble else None

    def check_data(self, joined: JoinedInputs | None, name: str) -> None:
        """Reject training without teachers, or on teacher outputs of others; see the base class.

        Raises:
            ValueError: If there are losses and no teachers, or the outputs of the teachers are only
                in a cache and the data set does not have them.
        """
        if self.during:
            return
        for teacher in self.teachers:  # Layers may have been unfrozen since.
            check_shared_weights(teacher, self.student.model)
        if self.terms and not self.teachers:
            raise ValueError(
                f"'{name}' has no teachers (a file holds none). Call "
                "`distiller.set_teachers(...)` before training continues."
            )
        if joined is not None and self.teachers:
            self.ensemble.locate_teacher_outputs(joined.teacher_outputs, joined.x)
        elif any(teacher.is_cached for teacher in self.teachers):
            raise ValueError(
                f"'{name}' has teachers whose outputs are only in a cache, so the data set must "
                "carry them. Pass `cache.join(dataset)` to `fit`."
            )

    def locate(self, joined: Any, x: Any) -> list[dict[Tap, tuple[str, str]]]:
        """Return, for each teacher and tap, the two keys of its outputs in joined data."""
        return self.ensemble.locate_teacher_outputs(joined, x)

    def run_teachers(self, x: Any, joined: Any = None) -> list[dict[Tap, Any]] | None:
        """Run each teacher once.

        Args:
            x: A batch.
            joined: For each teacher its outputs by tap, if a cache has them: no teacher runs.
                Defaults to `None`.
        """
        if self.during or not self.active:
            return None
        if joined is not None or self.ensemble is None:
            return joined
        return [member(x) for member in self.ensemble.members]

    def teach_before(self, teacher_outputs: Any, y: Any, replica: Any = 0) -> Knowledge | None:
        """Weight the teachers, add noise and combine, as configured."""
        if self.during or not self.active:
            return None
        if self.ensemble is None:
            return Knowledge()
        at = self.ensemble.weighting_tap
        named = [student_tap(t).name for t in self.terms if t.on_logits and teacher_tap(t) == at]
        labels = per_output(y, named[0] if named else None, self.student.output_names)
        return self.ensemble.combine_outputs(teacher_outputs, labels, replica)

    def teach_during(self, student_outputs: Any, y: Any, replica: Any = 0) -> Knowledge | None:
        """Use the student's own outputs, without gradient, as the target of its other taps."""
        if not self.during:
            return None
        (member,) = self.ensemble.members
        own = {tap: ops.stop_gradient(student_outputs[tap]) for tap in member.shapes}
        return self.ensemble.combine_outputs([own], None, replica)

    def term(
        self, i: int, knowledge: Knowledge, student_outputs: dict[Tap, Any], y: Any, weights: Any
    ) -> Any:
        """Compute the mean of one loss over the samples, its teachers weighted per sample."""
        loss, names = self.terms[i], self.student.output_names
        tap = tree.flatten(student_tap(loss))[0].name
        labels, weights = per_output(y, tap, names), sample_weights(weights, tap, names)
        outputs = _each(student_tap(loss), student_outputs)
        if knowledge.combined and loss.on_logits:
            values = loss.compare(None, knowledge.combined[teacher_tap(loss)], outputs, labels)
            return mean_over_samples(values, weights)
        return self._mean_over_teachers(i, knowledge, outputs, labels, weights)

    def _mean_over_teachers(
        self, i: int, knowledge: Knowledge, outputs: Any, labels: Any, weights: Any
    ) -> Any:
        loss, teachers = self.terms[i], len(knowledge.outputs)
        values = []
        for k, teacher_outputs in enumerate(knowledge.outputs):
            projector = self.projectors.get(self._key(i, k, teachers))
            target = _each(teacher_tap(loss), teacher_outputs)
            columns = self._columns(k) if loss.on_logits else None
            own, own_labels = outputs, labels
            if columns is not None:
                own, own_labels = _restrict_classes(outputs, labels, columns)
            values.append(loss.compare(projector, target, own, own_labels))
        if teachers == 1:
            return mean_over_samples(values[0], weights)
        values = ops.stack([mean_per_sample(value, weights) for value in values])
        values = ops.sum(values * ops.cast(knowledge.weights, values.dtype), axis=0)
        return mean_over_samples(values)

    def _key(self, loss: int, teacher: int, teachers: int) -> str:
        name = self.names[loss]
        return name if teachers == 1 else f"{name}/teacher_{teacher}"


def _restrict_classes(logits: Any, labels: Any, columns: Sequence[int]) -> tuple[Any, Any]:
    """Return the student's logits and the labels among the classes that a teacher has."""
    own = ops.convert_to_tensor(list(columns), dtype="int32")
    if labels is not None:
        target = class_indices(labels, logits.shape)
        matches = ops.expand_dims(target, -1) == own
        position = ops.cast(ops.argmax(matches, axis=-1), "int32")
        labels = ops.where(ops.any(matches, axis=-1), position, UNLABELED)
    restricted, mask = ops.take(logits, own, axis=-1), get_mask(logits)
    return restricted if mask is None else set_mask(restricted, mask), labels


def student_tap(loss: DistillationLoss) -> Tap | list[Tap]:
    """Return the student's tap of a loss, or its taps if it compares several pairs."""
    return _taps(loss.student_tap, loss.on_logits)


def teacher_tap(loss: DistillationLoss) -> Tap | list[Tap]:
    """Return the teacher's tap of a loss, or its taps."""
    return _taps(loss.teacher_tap, loss.on_logits)


def as_shapes(saved: Sequence) -> Any:
    """Return a shape, or a list of shapes, from the lists that JSON makes of them."""
    if saved and isinstance(saved[0], (list, tuple)):
        return [tuple(shape) for shape in saved]
    return tuple(saved)


def as_losses(losses: Any) -> list[DistillationLoss]:
    """Return the distillation losses of an argument `losses`."""
    if losses is None:
        return [SoftTargets()]
    several = losses if isinstance(losses, (list, tuple)) else [losses]
    return [get_loss(loss) for loss in several]


def _check_arguments(weighting: Any, noise: Any, class_names: Any, student_outputs: Any) -> None:
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


def _taps(names: str | Sequence[str] | None, logits: bool) -> Tap | list[Tap]:
    if isinstance(names, (list, tuple)):
        return [Tap(name, logits) for name in names]
    return Tap(names, logits)


def _each(taps: Tap | list[Tap], values: dict[Tap, Any]) -> Any:
    """Return the value at a tap, or a list of values for a list of taps."""
    return [values[tap] for tap in taps] if isinstance(taps, list) else values[taps]


def _unique(names: Iterable[str]) -> list[str]:
    """Number repeated names: hint, hint_2, hint_3."""
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
