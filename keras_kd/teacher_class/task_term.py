"""The task term: the teacher's outputs with one chunk replaced by the output of its student."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_kd.losses import SoftTargets
from keras_kd.losses.distillation_loss import at_least_float32
from keras_kd.models.keras_compat import copy_mask
from keras_kd.models.split import layers_after
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.models.task import Evidence, require_task
from keras_kd.teacher_class.basis import Basis
from keras_kd.teacher_class.representation import Representation
from keras_kd.teachers.teacher import Teacher
from keras_kd.training import backend

_LOGITS = Tap(None, logits=True)


def make_task_loss(weight: float) -> SoftTargets | None:
    """Return the loss on the teacher's outputs; `None` for a weight of 0.

    Raises:
        ValueError: If `weight` is not a finite number of at least 0.
    """
    if not isinstance(weight, numbers.Real) or not 0 <= weight < math.inf:
        raise ValueError(
            "TeacherClass: `task_weight` must be a finite number, at least 0. "
            f"Received: task_weight={weight!r}"
        )
    return SoftTargets(temperature=1.0, weight=weight, name="task") if weight else None


def make_task_term(
    loss: SoftTargets | None, representation: Representation, basis: Basis | None
) -> "TaskTerm | None":
    """Return the task term of a teacher, `None` without a loss.

    Raises:
        ValueError: If the teacher has no layers to run, or no output of classes.
    """
    return None if loss is None else TaskTerm(loss, representation, basis)


class TaskTerm:
    """The loss of a student on the teacher's outputs, through the teacher's frozen head.

    The head is the part of the teacher after the layer, with the teacher's own layers and weights.
    This is not a Keras object, so an owner does not track the teacher.

    Args:
        loss: The loss between the logits of the teacher and those with one chunk replaced.
        representation: The representation of a live teacher.
        basis: Its basis in which the students mimic it, or `None`. Defaults to `None`.

    Raises:
        ValueError: If the teacher is in a cache, or does not have one output of classes.
    """

    def __init__(
        self, loss: SoftTargets, representation: Representation, basis: Basis | None = None
    ) -> None:
        teacher = representation.teacher
        if teacher.model is None:
            raise ValueError(
                "TeacherClass: `task_weight` runs the teacher's layers after "
                f"'{representation.layer}', and teacher '{teacher.name}' exists only in a cache. "
                "Pass the model as the teacher, with mimic='output' for joined data, or "
                f"task_weight=0. Received: task_weight={float(loss.weight):g}"
            )
        self.loss = loss
        self._basis = basis
        self._units = representation.units
        self._activation = representation.activation()
        self._head = _tap_logits(layers_after(teacher.model, representation.layer), teacher)
        loss.set_task(_require_classes(self._head, teacher))

    def targets(self, values: Any, outputs: Sequence[Any]) -> Any:
        """Return the teacher's logits of a batch, without gradients.

        Args:
            values: The teacher's representation, in the basis of the students.
            outputs: The outputs of the students; the masked steps of the first are those of all.
        """
        with backend.without_gradients():
            return ops.stop_gradient(self._logits(copy_mask(outputs[0], at_least_float32(values))))

    def __call__(self, values: Any, output: Any, chunk: Sequence[int], targets: Any) -> Any:
        """Return the loss of one student, (batch, ...).

        Args:
            values: The teacher's representation, in the basis of the students.
            output: The output of the student.
            chunk: The units that it replaces.
            targets: As returned by `targets`.
        """
        values = at_least_float32(values)
        others = [unit for unit in range(self._units) if unit not in set(chunk)]
        places = {unit: place for place, unit in enumerate([*chunk, *others])}
        joined = ops.cast(output, values.dtype)
        if others:
            joined = ops.concatenate([joined, ops.take(values, others, axis=-1)], axis=-1)
        order = [places[unit] for unit in range(self._units)]
        replaced = copy_mask(output, ops.take(joined, order, axis=-1))
        return self.loss(targets, self._logits(replaced))

    def _logits(self, values: Any) -> Any:
        values, cut = backend.fill_empty_replica(values)
        if self._basis is not None:
            values = self._basis.restore(values)
        if self._activation is not None:
            values = self._activation(values)
        return cut(self._head(values)[1][_LOGITS])


def _tap_logits(head: keras.Model, teacher: Teacher) -> TappedModel:
    """Return the head with its logits, read as the teacher's outputs are declared."""
    if len(tree.flatten(head.outputs)) != 1:
        raise ValueError(
            "TeacherClass: `task_weight` needs a teacher with one output. Pass task_weight=0. "
            f"Received: teacher '{teacher.name}' with {len(tree.flatten(head.outputs))} outputs"
        )
    return TappedModel(head, [_LOGITS], outputs=_declared(teacher))


def _declared(teacher: Teacher) -> str:
    declared = teacher.outputs
    return next(iter(declared.values()), "auto") if isinstance(declared, dict) else declared


def _require_classes(head: TappedModel, teacher: Teacher) -> str:
    """Return the task of the teacher's output.

    Raises:
        ValueError: If it is numbers, or not known.
    """
    compiled = tree.flatten(getattr(teacher.original or teacher.model, "loss", None))
    evidence = Evidence(
        next(iter(head.heads), teacher.name),
        head.shapes[_LOGITS][-1],
        _declared(teacher),
        compiled[0] if len(compiled) == 1 else None,
        list(head.heads.values()),
    )
    task = require_task(evidence)
    if task == "values":
        raise ValueError(
            "TeacherClass: `task_weight` compares distributions over classes, and the output of "
            f"teacher '{teacher.name}' is numbers (regression). Pass task_weight=0"
        )
    return task
