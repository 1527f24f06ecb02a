"""The interface between a distiller and its objective."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras

from keras_kd.losses import DistillationLoss
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.knowledge import JoinedInputs
from keras_kd.teachers.noise import LogitNoise


class Objective(keras.layers.Layer):
    """What a distiller learns beside the labels, and where the targets come from.

    A step calls `run_teachers` and `teach_before` before the student runs, outside the gradient
    tape, and `teach_during` with the student's own outputs. By default neither gives a target.

    Attributes:
        student: Callable that maps a batch to the student's outputs and its taps.
        terms: The distillation losses.
        names: Their names in the history.
        projectors: By loss (and teacher, if there are several) the trained maps between taps.
        noise: A `LogitNoise` or `None`.
        teachers: The frozen teachers.
        tasks: The task of each output with a loss on logits, once compiled.
    """

    student: Any
    terms: Sequence[DistillationLoss] = ()
    names: Sequence[str] = ()
    noise: LogitNoise | None  # No default: on PyTorch it would hide the value of an instance.
    teachers: tuple[BaseTeacher, ...] = ()
    tasks: Mapping[str, str | None] = MappingProxyType({})

    def set_tasks(self, compiled: Any) -> None:
        """Adapt the losses to the tasks of their outputs; `compile` calls this.

        Args:
            compiled: The compiled loss on the labels, by output or for all; `None` for none.

        Raises:
            ValueError: If a task is not known, or none that a loss can read.
        """

    @property
    def tapped_students(self) -> list[TappedModel]:
        """The models that are trained, with their taps."""
        return [self.student]

    @property
    def students(self) -> list[keras.Model]:
        """The models that are trained."""
        return [one.model for one in self.tapped_students]

    def task_of_labels(self, name: str) -> str | None:
        """Return the task of the labels of an output, `None` if it is not known.

        If no other evidence tells, it is what the distillation losses take the output for.
        """

    def check_data(self, joined: JoinedInputs | None, name: str) -> None:
        """Reject data that the teachers cannot teach on."""

    def run_teachers(self, x: Any, joined: Any = None) -> list[dict[Tap, Any]] | None:
        """Return each frozen teacher's outputs by tap, or `None` if there are no teachers."""

    def teach_before(
        self, teacher_outputs: Any, y: Any, training: bool = True, x: Any = None
    ) -> Any:
        """Return the targets from the outputs of the frozen teachers for x, or `None`."""

    def teach_during(
        self, student_outputs: Any, y: Any, replica: Any = 0, training: bool = True
    ) -> Any:
        """Return the targets from the student's own outputs in this pass, or `None`."""

    def why_no_targets(self) -> str | None:
        """Return why there are no targets for any data now, `None` if there are."""

    def agreement(self, knowledge: Any, student_outputs: Any) -> Any:
        """Return the share of predicted classes that are the teachers', `None` without classes."""

    def term(self, i: int, knowledge: Any, student_outputs: Any, y: Any, weights: Any) -> Any:
        """Return the mean of one loss over the samples, a scalar."""
        raise NotImplementedError
