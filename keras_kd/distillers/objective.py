"""What the student learns from its teachers: each loss, for each teacher, at its taps."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_kd.losses import DistillationLoss, SoftTargets
from keras_kd.losses import get as get_loss
from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.losses.numerics import mean_over_samples
from keras_kd.models.graph import input_shapes
from keras_kd.models.logits import OUTPUTS
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.knowledge import Knowledge
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.teacher import Teacher, as_teachers, class_columns, replicate_teacher
from keras_kd.teachers.weighting import Weighting
from keras_kd.training.label_checks import per_output, sample_weights
from keras_kd.training.labels import UNLABELED, class_indices

#: Names in the history, and owners of hyperparameters, that are no distillation loss.
_RESERVED = ("loss", "student_loss", "noise")


class DistillationObjective(keras.layers.Layer):
    """The distillation losses of one student, with their teachers and projectors.

    It holds what a checkpoint holds of them: the projectors, the hyperparameters and the state of
    the noise. The teachers are asked through it and are not part of it.

    Args:
        student: The student.
        losses: As for `Distiller`.
        teachers: As for `Distiller`, or `None` for now.
        student_outputs: As for `Distiller`.
        weighting: As for `Distiller`.
        noise: As for `Distiller`.
        combine: As for `Distiller`.
        class_names: As for `Distiller`.
        tapped: What shows the student's taps. Defaults to `TappedModel`.

    Raises:
        ValueError: When a tap does not exist, or teachers, student and losses do not fit.
    """

    def __init__(
        self,
        student: keras.Model,
        losses: str | DistillationLoss | Sequence[str | DistillationLoss] | None,
        teachers: Any,
        student_outputs: str = "auto",
        weighting: Weighting | None = None,
        noise: LogitNoise | None = None,
        combine: str = "losses",
        class_names: Sequence[str] | None = None,
        tapped: Callable[..., TappedModel] = TappedModel,
    ) -> None:
        super().__init__(name="objective", autocast=False)
        _check_kinds(weighting, noise, class_names, student_outputs)
        self.terms = as_losses(losses)
        self.weighting = weighting
        self.noise = noise
        self.combine = combine
        self.class_names = None if class_names is None else list(class_names)
        #: By loss (and teacher, where there are several): the trained maps between the taps.
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

    def set_teachers(self, teachers: Any) -> None:
        """Sets the teachers; see `Distiller.set_teachers`."""
        taps = [teacher_tap(loss) for loss in self.terms]
        teachers = [replicate_teacher(teacher) for teacher in as_teachers(teachers)]
        if taps and not teachers:
            raise ValueError(
                "Distiller: with distillation losses there must be at least one teacher; pass "
                "`losses=[]` to train from labels alone. Received: teachers=[]"
            )
        classes = self._classes()
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
            for loss, tap in zip(self.terms, taps, strict=True):
                for place in tree.flatten(tap):
                    loss.check_head(member.activations.get(place), member.shapes[place])
        self.ensemble = ensemble
        self.connect([[_each(tap, member.shapes) for tap in taps] for member in ensemble.members])

    def _classes(self) -> int:
        """How many classes the student's first output of logits has."""
        taps = [tap for tap in self.student.taps if tap.logits]
        return self.student.shapes[taps[0]][-1] if taps else 0

    def connect(self, teacher_shapes: Sequence[Sequence[Any]]) -> None:
        """Makes the projectors for teachers whose taps have these shapes.

        Args:
            teacher_shapes: For each teacher, the shape (or shapes) at the taps of each loss.
        """
        known = self.teacher_shapes == teacher_shapes
        projectors = {}
        for k, shapes in enumerate(teacher_shapes):
            for i, loss in enumerate(self.terms):
                if loss.on_logits and self.ensemble is None:
                    continue  # Loaded from a file: nothing to make, and no teacher to check.
                student_shape = _each(student_tap(loss), self.student.shapes)
                own = self._columns(k) if loss.on_logits else None
                if own is not None:
                    student_shape = (*student_shape[:-1], len(own))
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

    def teach(
        self, x: Any, y: Any = None, replica: Any = 0, teacher_outputs: Sequence[Any] | None = None
    ) -> Knowledge:
        """Asks every teacher once, or takes what they said before.

        Args:
            x: A batch.
            y: Its labels, as `fit` got them.
            replica: Number of the replica, for the noise. Defaults to 0.
            teacher_outputs: For each teacher a dict from tap to its output; `None` runs the
                teachers.

        Returns:
            The `Knowledge`.
        """
        if self.ensemble is None:
            return Knowledge()
        at = self.ensemble.weighting_tap
        named = [student_tap(t).name for t in self.terms if t.on_logits and teacher_tap(t) == at]
        labels = per_output(y, named[0] if named else None, self.student.output_names)
        if teacher_outputs is None:
            return self.ensemble(x, labels, replica)
        return self.ensemble.combine_outputs(teacher_outputs, labels, replica)

    def term(
        self,
        i: int,
        knowledge: Knowledge,
        student_outputs: dict[Tap, Any],
        y: Any,
        sample_weight: Any,
    ) -> Any:
        """The mean of one loss over the samples, its teachers weighted sample by sample.

        Args:
            i: Which loss.
            knowledge: What the teachers say of the batch.
            student_outputs: The student's taps.
            y: Labels, as `fit` got them.
            sample_weight: Sample weights, as `fit` got them.

        Returns:
            A scalar.
        """
        loss, names = self.terms[i], self.student.output_names
        tap = tree.flatten(student_tap(loss))[0].name
        labels = per_output(y, tap, names)
        answer = _each(student_tap(loss), student_outputs)
        if knowledge.combined and loss.on_logits:
            values = loss.compare(None, knowledge.combined[teacher_tap(loss)], answer, labels)
        else:
            values = self._over_teachers(i, knowledge, answer, labels)
        return mean_over_samples(values, sample_weights(sample_weight, tap, names))

    def _over_teachers(self, i: int, knowledge: Knowledge, answer: Any, labels: Any) -> Any:
        loss, teachers = self.terms[i], len(knowledge.outputs)
        values = []
        for k, outputs in enumerate(knowledge.outputs):
            projector = self.projectors.get(self._key(i, k, teachers))
            teacher_outputs = _each(teacher_tap(loss), outputs)
            own = self._columns(k) if loss.on_logits else None
            mine, theirs = (answer, labels) if own is None else _restricted(answer, labels, own)
            values.append(loss.compare(projector, teacher_outputs, mine, theirs))
        if teachers == 1:
            return values[0]
        values = ops.stack(values)
        return ops.sum(values * ops.cast(knowledge.weights, values.dtype), axis=0)

    def _key(self, loss: int, teacher: int, teachers: int) -> str:
        name = self.names[loss]
        return name if teachers == 1 else f"{name}/teacher_{teacher}"


def _restricted(logits: Any, labels: Any, class_columns: Sequence[int]) -> tuple[Any, Any]:
    """The student's logits and the labels in the eyes of a teacher that knows some classes."""
    own = ops.convert_to_tensor(list(class_columns), dtype="int32")
    if labels is not None:
        target = class_indices(labels, logits.shape)
        matches = ops.expand_dims(target, -1) == own
        position = ops.cast(ops.argmax(matches, axis=-1), "int32")
        labels = ops.where(ops.any(matches, axis=-1), position, UNLABELED)
    return ops.take(logits, own, axis=-1), labels


def student_tap(loss: DistillationLoss) -> Tap | list[Tap]:
    """The student's tap of a loss, or its taps where it compares several pairs."""
    return _taps(loss.student_tap, loss.on_logits)


def teacher_tap(loss: DistillationLoss) -> Tap | list[Tap]:
    """The teacher's tap of a loss, or its taps."""
    return _taps(loss.teacher_tap, loss.on_logits)


def as_shapes(saved: Sequence) -> Any:
    """A shape, or a list of shapes, from the lists that a file makes of them."""
    if saved and isinstance(saved[0], (list, tuple)):
        return [tuple(shape) for shape in saved]
    return tuple(saved)


def as_losses(losses: Any) -> list[DistillationLoss]:
    """The distillation losses that an argument `losses` means."""
    if losses is None:
        return [SoftTargets()]
    several = losses if isinstance(losses, (list, tuple)) else [losses]
    return [get_loss(loss) for loss in several]


def _check_kinds(weighting: Any, noise: Any, class_names: Any, student_outputs: Any) -> None:
    """Refuses arguments of the wrong kind before anything is built from them."""
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
    listed = isinstance(class_names, (list, tuple)) and all(isinstance(n, str) for n in class_names)
    if class_names is not None and not listed:
        raise TypeError(
            "Distiller: `class_names` must be a list of names. "
            f"Received: class_names={class_names!r}"
        )
    if class_names is not None and len(set(class_names)) < len(class_names):
        raise ValueError(
            f"Distiller: each of `class_names` may come once. Received: class_names={class_names}"
        )
    if student_outputs not in OUTPUTS:
        raise ValueError(
            f"Distiller: `student_outputs` must be one of {OUTPUTS}. "
            f"Received: student_outputs={student_outputs!r}"
        )


def _taps(names: str | Sequence[str] | None, logits: bool) -> Tap | list[Tap]:
    if isinstance(names, (list, tuple)):
        return [Tap(name, logits) for name in names]
    return Tap(names, logits)


def _each(taps: Tap | list[Tap], found: dict[Tap, Any]) -> Any:
    """What was found at a tap, or a list of it for a list of taps."""
    return [found[tap] for tap in taps] if isinstance(taps, list) else found[taps]


def _unique(names: Iterable[str]) -> list[str]:
    """Names made unique: hint, hint_2, hint_3."""
    found = []
    for name in names:
        if name in _RESERVED:
            raise ValueError(
                f"A distillation loss may not be called '{name}': the history has another of that "
                f"name. Received: name={name!r}"
            )
        numbered = (f"{name}_{count}" for count in itertools.count(2))
        found.append(name if name not in found else next(n for n in numbered if n not in found))
    return found


def check_inputs(teacher: Teacher, student: keras.Model) -> None:
    """Refuses a teacher that cannot take what the student takes.

    Raises:
        ValueError: When the shapes of their inputs differ and nothing turns one into the other.
    """
    if teacher.preprocessing is not None:
        return
    one, other = teacher.input_shapes, input_shapes(student)
    if one is None or other is None:
        return
    if len(one) != len(other) or not all(map(shapes_agree, one, other)):
        raise ValueError(
            f"Teacher '{teacher.name}' takes inputs of shape {one} and the student "
            f"'{student.name}' {other}. Give the teacher what turns one into the other: "
            "kd.Teacher(model, preprocessing=...)."
        )
