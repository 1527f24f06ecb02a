"""The distillation losses of one student: where their targets come from, and their values."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_kd.distillers.agreement import mean_agreement
from keras_kd.distillers.arguments import (
    check_arguments,
    check_numbers,
    reject_unknown_probabilities,
    unique_names,
)
from keras_kd.distillers.default_losses import (
    as_losses,
    compiled_loss,
    loss_for_task,
    task_of_loss,
)
from keras_kd.distillers.loss_taps import at_taps, choose_taps, labels_at, student_tap, teacher_tap
from keras_kd.distillers.objective import Objective
from keras_kd.distillers.shared_inputs import check_inputs
from keras_kd.losses import DistillationLoss
from keras_kd.losses.reduction import mean_over_samples, mean_per_sample
from keras_kd.models.declaration import Declaration, declared_kind
from keras_kd.models.keras_compat import detach, get_mask, set_mask
from keras_kd.models.logits import log_odds
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.models.task import (
    ACTIVATIONS,
    Evidence,
    decide_task,
    task_from_loss,
    warn_about_from_logits,
)
from keras_kd.teachers.class_map import class_map, restrict_classes
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.knowledge import JoinedInputs, Knowledge
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.shared_weights import check_shared_weights
from keras_kd.teachers.teacher import Teacher, as_teachers, replicate_teacher
from keras_kd.teachers.weighting import Weighting
from keras_kd.training.backend import replica_id
from keras_kd.training.label_checks import per_output, sample_weights
from keras_kd.training.labels import only_classes


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
        check_arguments(weighting, noise, class_names, student_outputs)
        self.terms = as_losses(losses, student, teachers)
        self.weighting = weighting
        self.noise = noise
        self.combine = combine
        self.class_names = None if class_names is None else list(class_names)
        self.student_outputs = student_outputs
        self.during = during
        #: Whether the frozen teachers teach; `SelfDistiller` waits for its first snapshot.
        self.active = True
        self.projectors = {}
        choose_taps(self.terms, teachers, student)
        taps = tree.flatten([student_tap(loss) for loss in self.terms])
        self.student = tapped(student, taps, outputs=student_outputs, training=True)
        self.names = unique_names(loss.name for loss in self.terms)
        #: The task of each output with a loss on logits, once compiled.
        self.tasks: dict[str, str | None] = {}
        # Student taps of labels, where it matters how probabilities are read.
        self._sigmoids: set[Tap] = set()
        self._loss_tasks: dict[str, str | None] = {}
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
        classes = self._count_classes()
        check_numbers(len(teachers), len(taps), self.class_names, classes)
        ensemble = Ensemble(
            teachers,
            tree.flatten(taps),
            self.weighting,
            self.noise,
            self.combine,
            [class_map(teacher, classes, self.class_names) for teacher in teachers],
            classes,
            self._units(),
        )
        for member in ensemble.members:
            check_inputs(member.teacher, self.student.model)
            self._check_shared_weights(member.teacher)
            for loss, tap in zip(self.terms, taps, strict=True):
                for place in tree.flatten(tap):
                    loss.check_head(member.activations.get(place), member.shapes[place])
        self.ensemble = ensemble
        self._read_probabilities()
        self.connect([[at_taps(tap, member.shapes) for tap in taps] for member in ensemble.members])

    def _check_shared_weights(self, teacher: Teacher) -> None:
        for part in () if self.during or not self.student.trains_model else teacher.parts:
            check_shared_weights(part, self.student.model)

    def _units(self) -> dict[Tap, int]:
        """Return, by the teachers' taps of logits, the student's units that they may become."""
        units = {}
        for loss in self.terms:
            tap, converts = student_tap(loss), loss.tasks != ("values",)
            if loss.on_logits and converts and self.student.kinds.get(tap) not in (None, "values"):
                size = self.student.shapes[tap][-1]
                if not (size == 2 and self.student.kinds[tap] == "sigmoid"):
                    units.setdefault(teacher_tap(loss), size)
        return units

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
                student_shape = at_taps(student_tap(loss), self.student.shapes)
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

    def set_tasks(self, compiled: Any) -> None:
        """Adapt the losses on logits to the tasks of their outputs; see the base class."""
        for name in self.student.output_names:
            warn_about_from_logits(evidence := self._evidence(name, compiled))
            self._loss_tasks[name] = task_from_loss(evidence.loss, evidence.units)
        for i, loss in enumerate(list(self.terms)):
            if loss.on_logits:
                self._set_task(i, loss, compiled)
        self._read_probabilities()
        self.names = unique_names(loss.name for loss in self.terms)

    def task_of_labels(self, name: str) -> str | None:
        """Return the task of the labels of an output; see the base class."""
        task = self.tasks.get(name) or decide_task(self._evidence(name, None))
        losses = [loss for loss in self.terms if loss.on_logits and self._output_of(loss) == name]
        if task is None and any("values" not in loss.tasks for loss in losses):
            return "binary" if self.student.output_shapes[name][-1] == 1 else "classes"
        return task

    def _set_task(self, i: int, loss: DistillationLoss, compiled: Any) -> None:
        name, tap = self._output_of(loss), teacher_tap(loss)
        members = self.ensemble.members if self.ensemble else ()
        evidence = self._evidence(name, compiled, tap)
        task = task_of_loss(loss, evidence)
        found = loss_for_task(loss, task)
        for member in members:
            found.check_head(member.activations.get(tap), member.shapes[tap])
        if self.ensemble:
            self.ensemble.check_task(tap, task)
        if found is not loss:
            self.terms.pop(i)
            self.terms.insert(i, found)
        self.tasks[name] = task

    def _read_probabilities(self) -> None:
        """Read probabilities of an activation that is not visible as the tasks demand."""
        losses = [loss for loss in self.terms if loss.on_logits]
        read = {loss: self._activation(loss) for loss in losses}
        known = [loss for loss in losses if read[loss]]
        self._sigmoids = {student_tap(loss) for loss in known if read[loss] == "sigmoid"}
        if self.ensemble:
            by_tap = {teacher_tap(loss): set() for loss in losses}
            for loss in losses:
                units = self.student.shapes[student_tap(loss)][-1]
                by_tap[teacher_tap(loss)].add(read[loss] or loss.activation_of(units))
            self.ensemble.read_as({tap: found - {None} for tap, found in by_tap.items()})

    def _require_known_probabilities(self) -> None:
        """Reject probabilities that may be those of a softmax or of a sigmoid."""
        # Losses for classes or labels apply a softmax unless declared otherwise.
        for loss in self.terms:
            if loss.on_logits and "values" in loss.tasks and self._activation(loss) is None:
                kinds = [one.kinds[teacher_tap(loss)] for one in self.ensemble.members]
                kinds.append(self.student.kinds.get(student_tap(loss)))
                reject_unknown_probabilities(loss, self._output_of(loss), kinds)

    def _activation(self, loss: DistillationLoss) -> str | None:
        """Return how a loss on logits reads its output, or `None` if it is not known."""
        units = self.student.shapes[student_tap(loss)][-1]
        own = "classes" if loss.tasks == ("classes",) else loss.declared_task(units)
        return ACTIVATIONS.get(own or self.tasks.get(self._output_of(loss)))

    def _output_of(self, loss: DistillationLoss) -> str:
        """Return the student's output that a loss on logits is for; an exit has the only one's."""
        tap = student_tap(loss)
        own = None if isinstance(tap, list) else self.student.output_of(tap.name)
        return own or self.student.output_names[0]

    def _evidence(self, name: str, compiled: Any, tap: Tap | None = None) -> Evidence:
        """Return what tells the task of an output, also by the teachers' heads at a tap.

        Without a compiled loss, the one that a teacher was trained with tells.
        """
        names = self.student.output_names
        units = self.student.output_shapes[name][-1]
        members = self.ensemble.members if self.ensemble and tap else ()
        heads = [one.kinds[tap] for one in members if one.shapes[tap][-1] == units]
        declared = declared_kind(self.student_outputs, name, names)
        losses = [per_output(compiled, name, names)]
        losses += [loss for one in members if (loss := compiled_loss(one.teacher, tap)) is not None]
        loss = next((loss for loss in losses if loss is not None), None)
        return Evidence(name, units, declared, loss, [self.student.heads[name], *heads])

    def check_data(self, joined: JoinedInputs | None, name: str) -> None:
        """Reject training without teachers, or without their outputs; see the base class."""
        if self.during:
            return
        for teacher in self.teachers:  # Layers may have been unfrozen since.
            self._check_shared_weights(teacher)
        if self.terms and not self.teachers:
            raise ValueError(
                f"'{name}' has no teachers (a file holds none). Call "
                "`distiller.set_teachers(...)` before training continues."
            )
        if self.ensemble:
            self._require_known_probabilities()
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

    def teach_before(
        self, teacher_outputs: Any, y: Any, training: bool = True, x: Any = None
    ) -> Knowledge | None:
        """Weight the teachers, add noise and combine, as configured."""
        if self.during or not self.active:
            return None
        if self.ensemble is None:
            return Knowledge()
        at = self.ensemble.weighting_tap
        named = [student_tap(t).name for t in self.terms if t.on_logits and teacher_tap(t) == at]
        labels = labels_at(self.student, named[0] if named else None, y)
        return self.ensemble.combine_outputs(teacher_outputs, labels, replica_id(), training, x)

    def teach_during(
        self, student_outputs: Any, y: Any, replica: Any = 0, training: bool = True
    ) -> Knowledge | None:
        """Use the student's own outputs, without gradient, as the target of its other taps."""
        if not self.during:
            return None
        (member,) = self.ensemble.members
        own = {tap: detach(student_outputs[tap]) for tap in member.shapes}
        return self.ensemble.combine_outputs([own], None, replica, training)

    def why_no_targets(self) -> str | None:
        """Return why no data have targets now; see the base class."""
        waiting = None if self.active else "no earlier weights that teach yet"
        return waiting if self.ensemble else "no teachers; call `set_teachers`"

    def agreement(self, knowledge: Knowledge, student_outputs: dict[Tap, Any]) -> Any:
        """Return the share of predicted classes that are the teachers'; see the base class."""
        tasks = {t: self.task_of_labels(self._output_of(t)) for t in self.terms if t.on_logits}
        classes = [loss for loss, task in tasks.items() if task == "classes"]
        return mean_agreement(classes, knowledge, student_outputs, self.ensemble.columns)

    def term(
        self, i: int, knowledge: Knowledge, student_outputs: dict[Tap, Any], y: Any, weights: Any
    ) -> Any:
        """Compute the mean of one loss over the samples, its teachers weighted per sample."""
        loss, names = self.terms[i], self.student.output_names
        tap = tree.flatten(student_tap(loss))[0].name
        labels = labels_at(self.student, tap, y)
        weights = sample_weights(weights, self.student.output_of(tap) or tap, names)
        if loss.reads_classes:
            output = self._output_of(loss)
            labels = only_classes(
                labels, self._loss_tasks.get(output) or self.task_of_labels(output)
            )
        outputs = at_taps(student_tap(loss), student_outputs)
        if self._is_hidden_sigmoid(loss):
            outputs = set_mask(log_odds(outputs), get_mask(outputs))
        if loss.on_logits:
            self.ensemble.check_masks(knowledge.unmasked, outputs)
        if knowledge.combined and loss.on_logits:
            values = loss.compare(None, knowledge.combined[teacher_tap(loss)], outputs, labels)
            return mean_over_samples(values, weights)
        return self._mean_over_teachers(i, knowledge, outputs, labels, weights)

    def _is_hidden_sigmoid(self, loss: DistillationLoss) -> bool:
        tap = student_tap(loss)
        hidden = loss.on_logits and self.student.kinds.get(tap) == "probabilities"
        return hidden and tap in self._sigmoids

    def _mean_over_teachers(
        self, i: int, knowledge: Knowledge, outputs: Any, labels: Any, weights: Any
    ) -> Any:
        loss, teachers = self.terms[i], len(knowledge.outputs)
        values = []
        for k, teacher_outputs in enumerate(knowledge.outputs):
            projector = self.projectors.get(self._key(i, k, teachers))
            target = at_taps(teacher_tap(loss), teacher_outputs)
            columns = self._columns(k) if loss.on_logits else None
            own, own_labels = outputs, labels
            if columns is not None:
                own, own_labels = restrict_classes(outputs, labels, columns)
            values.append(loss.compare(projector, target, own, own_labels))
        if teachers == 1:
            return mean_over_samples(values[0], weights)
        values = ops.stack([mean_per_sample(value, weights) for value in values])
        values = ops.sum(values * ops.cast(knowledge.weights, values.dtype), axis=0)
        return mean_over_samples(values)

    def _key(self, loss: int, teacher: int, teachers: int) -> str:
        return self.names[loss] + (f"/teacher_{teacher}" if teachers > 1 else "")
