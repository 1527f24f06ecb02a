"""The objective of mutual learning: one objective per student, in one forward pass."""

import copy
from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.distillers.agreement import mean_of_known
from keras_kd.distillers.default_losses import as_losses, copy_loss
from keras_kd.distillers.distillation_objective import DistillationObjective
from keras_kd.distillers.objective import Objective
from keras_kd.distillers.student_outputs import StudentOutputs
from keras_kd.losses import DistillationLoss
from keras_kd.models.declaration import (
    Declaration,
    check_declaration,
    check_declared_names,
    declared_kind,
)
from keras_kd.models.keras_compat import detach
from keras_kd.models.taps import TappedModel, named_outputs
from keras_kd.teachers.knowledge import Knowledge
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.teacher import Teacher
from keras_kd.teachers.weighting import ByGroup, Weighting
from keras_kd.training.label_checks import sample_weights


class MutualObjective(Objective):
    """The distillation losses of students that have each other as teachers.

    Args:
        students: The students.
        losses: As for `Distiller`, for each student.
        student_outputs: As for `Distiller`, in a dict by the students' names.
        weighting: Weights of the other students, as for `Distiller`.
        noise: As for `Distiller`.
        combine: As for `Distiller`.

    Raises:
        ValueError: If students and losses do not match.
    """

    def __init__(
        self,
        students: Sequence[keras.Model],
        losses: Any,
        student_outputs: Declaration = "auto",
        weighting: Weighting | None = None,
        noise: LogitNoise | None = None,
        combine: str = "losses",
    ) -> None:
        super().__init__(name="objective", autocast=False)
        _reject_groups(weighting)
        default, losses = losses is None, as_losses(losses, students[0], list(students[1:]))
        for loss in losses:
            loss.resolve_taps(students, students)
        serialized = [keras.saving.serialize_keras_object(loss) for loss in losses]
        #: The losses as they were passed, serialized; each student has its own.
        self.pattern = None if default else serialized
        self._each = len(losses)
        self.weighting = weighting
        self.noise = noise
        self.combine = combine
        self.student_outputs = student_outputs
        declared = _declared_outputs(student_outputs, [student.name for student in students])
        self.objectives = [
            DistillationObjective(
                student,
                [copy_loss(loss, name=f"{student.name}_{loss.name}") for loss in losses],
                [
                    Teacher(peer, outputs=declared[peer.name])
                    for peer in students
                    if peer is not student
                ],
                declared[student.name],
                weighting,
                noise,
                combine,
            )
            for student in students
        ]
        self._add_taps_of_peers()
        self.student = JoinedStudents(self.objectives)
        self.built = True

    @property
    def tapped_students(self) -> list[TappedModel]:
        """The students, with the taps that they learn at and those that the others learn from."""
        return [objective.student for objective in self.objectives]

    @property
    def terms(self) -> list[DistillationLoss]:
        """The losses of the first student, then those of the second, and so on."""
        return [loss for objective in self.objectives for loss in objective.terms]

    @property
    def names(self) -> list[str]:
        """Their names in the history."""
        return [name for objective in self.objectives for name in objective.names]

    @property
    def projectors(self) -> dict[str, keras.layers.Layer]:
        """The maps between the students' taps, by loss (and teacher, if there are several)."""
        return {
            key: projector
            for objective in self.objectives
            for key, projector in objective.projectors.items()
        }

    def set_tasks(self, compiled: Any) -> None:
        """Adapt the losses of each student to the task; see the base class."""
        for objective in self.objectives:
            own = self.student.outputs.of_student(objective.student.model.name, compiled)
            objective.set_tasks(own)

    def task_of_labels(self, name: str) -> str | None:
        """Return the task of the labels of a student; see the base class."""
        student, output = self.student.outputs.find(name)
        found = {one.student.model.name: one for one in self.objectives}
        return found[student].task_of_labels(output)

    def teach_during(
        self, student_outputs: Sequence[dict], y: Any, replica: Any = 0, training: bool = True
    ) -> list[Knowledge]:
        """Use the outputs of the other students as targets, without gradient."""
        knowledge = []
        for i, objective in enumerate(self.objectives):
            others = [taps for j, taps in enumerate(student_outputs) if j != i]
            targets = [
                {tap: detach(taps[tap]) for tap in member.shapes}
                for member, taps in zip(objective.ensemble.members, others, strict=True)
            ]
            labels = self._of_student(i, y)
            knowledge.append(objective.teach_before(targets, labels, training))
        return knowledge

    def term(
        self, i: int, knowledge: Any, student_outputs: Sequence[dict], y: Any, weights: Any
    ) -> Any:
        """Compute the mean of one loss over the samples; see `DistillationObjective.term`."""
        k, loss = divmod(i, self._each)
        labels, names = self._of_student(k, y), self.student.output_names
        if self.student.outputs.several:
            weights = self._of_student(k, weights)
        else:
            weights = sample_weights(weights, names[k], names)
        return self.objectives[k].term(loss, knowledge[k], student_outputs[k], labels, weights)

    def agreement(self, knowledge: Any, student_outputs: Sequence[dict]) -> Any:
        """Return the mean agreement of each student with the others; see the base class."""
        parts = zip(self.objectives, knowledge, student_outputs, strict=True)
        return mean_of_known(one.agreement(known, taps) for one, known, taps in parts)

    def _of_student(self, i: int, values: Any) -> Any:
        return self.student.outputs.of_student(self.objectives[i].student.model.name, values)

    def _add_taps_of_peers(self) -> None:
        """Let each student return, in its one pass, also the taps that the others learn from."""
        for i, objective in enumerate(self.objectives):
            wanted = [
                tap
                for j, other in enumerate(self.objectives)
                if j != i
                for tap in other.ensemble.members[i - (i > j)].shapes
            ]
            model, taps = objective.student.model, [*objective.student.taps, *wanted]
            objective.student = TappedModel(
                model, taps, outputs=objective.student_outputs, training=True
            )


def _reject_groups(weighting: Weighting | None) -> None:
    if isinstance(weighting, ByGroup):
        raise ValueError(
            "MutualLearning: each student learns from all others, so the samples have no "
            "groups. Received: weighting=ByGroup(). Use another weighting, or kd.Distiller "
            "with a trained teacher for each group."
        )


def _declared_outputs(declaration: Any, names: Sequence[str]) -> dict[str, str]:
    """Return what the outputs of each student are declared as, by its name.

    Raises:
        ValueError: If the declaration is unknown, or names another student.
    """
    check_declaration(declaration, "MutualLearning: `student_outputs`")
    check_declared_names(declaration, names, "MutualLearning")
    return {name: declared_kind(declaration, name, names) for name in names}


class JoinedStudents:
    """Several students on the same batch, as one callable with the outputs of all of them."""

    def __init__(self, objectives: Sequence[DistillationObjective]) -> None:
        self._objectives = tuple(objectives)
        self._training = True
        students = [objective.student for objective in objectives]
        self.outputs = StudentOutputs({one.model.name: one.output_names for one in students})
        names = self.outputs.names
        shapes = [shape for one in students for shape in one.output_shapes.values()]
        axes = [axis for one in students for axis in one.output_axes.values()]
        #: Shape of each output, by its name.
        self.output_shapes = dict(zip(names, shapes, strict=True))
        self.output_axes = dict(zip(names, axes, strict=True))

    def for_inference(self) -> "JoinedStudents":
        """Return the same students in inference mode."""
        students = copy.copy(self)
        students._training = False
        return students

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs; see `StudentOutputs`."""
        return self.outputs.names

    def __call__(self, x: Any) -> tuple[dict[str, Any], list[dict]]:
        """Run each student once: its outputs by name, and its taps."""
        students = [objective.student for objective in self._objectives]
        if not self._training:
            students = [student.for_inference() for student in students]
        results = [student(x) for student in students]
        outputs = [
            named_outputs(output, student.output_names)[name]
            for student, (output, _) in zip(students, results, strict=True)
            for name in student.output_names
        ]
        taps = [taps for _, taps in results]
        return dict(zip(self.output_names, outputs, strict=True)), taps
