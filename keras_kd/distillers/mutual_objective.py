"""What several students learn from each other: one objective for each, in one forward pass."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_kd.distillers.objective import DistillationObjective, as_losses
from keras_kd.losses import DistillationLoss
from keras_kd.models.taps import TappedModel
from keras_kd.teachers.knowledge import Knowledge
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.teacher import Teacher
from keras_kd.teachers.weighting import Weighting


class MutualObjective(keras.layers.Layer):
    """The distillation losses of students of which each has the others for teachers.

    Args:
        students: The students.
        losses: As for `Distiller`, for each student.
        student_outputs: As for `Distiller`.
        weighting: How much each of the others counts, as for `Distiller`.
        noise: As for `Distiller`.
        combine: As for `Distiller`.

    Raises:
        ValueError: When students and losses do not fit.
    """

    #: There are no teachers to ask.
    ensemble = None

    def __init__(
        self,
        students: Sequence[keras.Model],
        losses: Any,
        student_outputs: str = "auto",
        weighting: Weighting | None = None,
        noise: LogitNoise | None = None,
        combine: str = "losses",
    ) -> None:
        super().__init__(name="objective", autocast=False)
        #: The losses as they were given, serialized; each student has its own.
        self.pattern = [keras.saving.serialize_keras_object(loss) for loss in as_losses(losses)]
        self.weighting = weighting
        self.noise = noise
        self.combine = combine
        self.objectives = [
            DistillationObjective(
                student,
                [_own(loss, student) for loss in as_losses(losses)],
                [
                    Teacher(peer, outputs=student_outputs)
                    for peer in students
                    if peer is not student
                ],
                student_outputs,
                weighting,
                noise,
                combine,
            )
            for student in students
        ]
        self._show_what_is_asked(student_outputs)
        self.student = Together(self.objectives)
        self.built = True

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
        """By loss (and teacher, where there are several): the maps between the students' taps."""
        return {
            key: projector
            for objective in self.objectives
            for key, projector in objective.projectors.items()
        }

    def teach(self, student_outputs: Sequence[dict], y: Any, replica: Any = 0) -> list[Knowledge]:
        """What each student learns from what the others just said.

        Args:
            student_outputs: For each student its taps.
            y: Labels by student, or `None`.
            replica: Number of the replica, for the noise. Defaults to 0.

        Returns:
            A `Knowledge` for each student.
        """
        knowledge = []
        for i, objective in enumerate(self.objectives):
            others = [taps for j, taps in enumerate(student_outputs) if j != i]
            teacher_outputs = [
                {tap: ops.stop_gradient(taps[tap]) for tap in member.shapes}
                for member, taps in zip(objective.ensemble.members, others, strict=True)
            ]
            knowledge.append(objective.teach(None, self._labels(i, y), replica, teacher_outputs))
        return knowledge

    def term(
        self,
        i: int,
        knowledge: Sequence[Knowledge],
        student_outputs: Sequence[dict],
        y: Any,
        weights: Any,
    ) -> Any:
        """The mean of one loss over the samples; see `DistillationObjective.term`."""
        k, loss = divmod(i, len(self.pattern))
        return self.objectives[k].term(
            loss, knowledge[k], student_outputs[k], self._labels(k, y), weights
        )

    def _labels(self, student: int, y: Any) -> Any:
        return None if y is None else y[self.student.output_names[student]]

    def _show_what_is_asked(self, outputs: str) -> None:
        """Lets each student show, in its one pass, also what the others learn from it."""
        for i, objective in enumerate(self.objectives):
            asked = [
                tap
                for j, other in enumerate(self.objectives)
                if j != i
                for tap in other.ensemble.members[i - (i > j)].shapes
            ]
            model = objective.student.model
            taps = [*objective.student.taps, *asked]
            objective.student = TappedModel(model, taps, outputs=outputs, training=True)


class Together:
    """Several students that see the same batch, as one model with an output for each."""

    def __init__(self, objectives: Sequence[DistillationObjective]) -> None:
        self._objectives = tuple(objectives)
        #: Shape of each student's output, by the student's name.
        self.output_shapes = {
            objective.student.model.name: next(iter(objective.student.output_shapes.values()))
            for objective in objectives
        }

    @property
    def output_names(self) -> list[str]:
        """The students' names."""
        return list(self.output_shapes)

    def __call__(self, x: Any) -> tuple[dict[str, Any], list[dict]]:
        """Runs each student once: its outputs by name, and its taps."""
        found = [objective.student(x) for objective in self._objectives]
        answers = [tree.flatten(answer)[0] for answer, _ in found]
        taps = [taps for _, taps in found]
        return dict(zip(self.output_names, answers, strict=True)), taps


def _own(loss: DistillationLoss, student: keras.Model) -> DistillationLoss:
    config = {**loss.get_config(), "name": f"{student.name}_{loss.name}"}
    return type(loss).from_config(config)
