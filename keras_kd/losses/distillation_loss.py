"""The base class of all distillation losses."""

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_kd.models.keras_compat import get_mask, set_mask
from keras_kd.models.tap_names import resolve_tap, tap_name
from keras_kd.models.task import MEANINGS, TASKS
from keras_kd.training.hyperparameters import Hyperparameter


class DistillationLoss(keras.layers.Layer):
    """A loss that compares a tap of the student with a tap of the teacher, per sample.

    Subclasses override `call`, and `make_projector` if the two taps may differ in shape. `call`
    receives tensors of one dtype, float32 (or float64 if the student's is), channels last, and
    returns one value per sample, so that sample weights, class weights and teacher weights apply to
    it. On sequences and maps it may return one value per position instead. A distiller then takes
    the mean over the positions of each sample, without the masked steps of a sequence. Sample
    weights of the positions' shape weigh each position; of any others, each sample gets the mean.
    A position without a label is distilled like any other, unless its weight is 0.

    Args:
        weight: Weight of the mean value in the total loss, a hyperparameter that callbacks can
            change during training. Defaults to 1.
        teacher_tap: The teacher's tap: a layer's name, `outer/inner` inside a nested model, an
            output's name, the layer itself, or `None` for the output. Defaults to `None`.
        student_tap: The student's tap. Defaults to `None`.
        name: Name in the history. Defaults to the class name in snake case.

    Raises:
        TypeError: If a tap is neither a name nor a layer.
        ValueError: If `weight` is negative or not finite.

    Example:
        >>> class MeanAbsoluteLogits(kd.losses.DistillationLoss):
        ...     def call(self, teacher, student, labels=None):
        ...         return keras.ops.mean(keras.ops.abs(teacher - student), axis=-1)
        >>> loss = MeanAbsoluteLogits(weight=0.5)
        >>> loss(teacher_logits, student_logits).shape  # (batch,), or (batch, height, width)
    """

    #: Whether `call` receives the logits of an output, even if the model ends in an activation.
    on_logits = True
    #: Whether `call` needs labels.
    needs_labels = False
    #: Whether `call` reads labels as classes; for labels of other tasks it then gets `None`.
    reads_classes = False
    #: The tasks whose outputs `call` can read; see `kd.Teacher` for `outputs`.
    tasks: tuple[str, ...] = TASKS
    #: Whether `call` relates the samples of a batch, so that it needs two or more.
    relates_samples = False
    #: Whether it was chosen by a distiller and not by the user, so that the task may replace it.
    is_default = False

    weight = Hyperparameter()

    def __init__(
        self,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or snake_case(type(self).__name__), autocast=False)
        self.weight = weight
        owner = type(self).__name__
        self.teacher_tap = tap_name(teacher_tap, "teacher_tap", owner)
        self.student_tap = tap_name(student_tap, "student_tap", owner)
        #: Whether `compare` may change a state of the loss; false in an evaluation.
        self.updates_state = True
        self.built = True

    def __call__(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Check labels, cast both taps to one dtype, run `call` and check what it returns.

        Returns:
            The result of `call`. Values per position have the Keras mask of the student's tap.

        Raises:
            ValueError: If labels are missing, the values are neither per sample nor per position,
                or the loss has one value for a sequence with masked steps.
        """
        if self.needs_labels and labels is None:
            raise ValueError(
                f"{type(self).__name__} needs labels: pass `y` to `fit` (integers or one-hot; -1 "
                "for a sample without a label), or use SoftTargets, which needs none. "
                "Received: labels=None"
            )
        student = tree.map_structure(at_least_float32, student)
        teacher = tree.map_structure(lambda t, s: ops.cast(t, s.dtype), teacher, student)
        values = super().__call__(teacher, student, labels)
        if not isinstance(values, (list, tuple)):
            return self._check_values(values, teacher, student, labels)
        pairs = zip(values, teacher, student, strict=True)
        return [self._check_values(*pair, labels) for pair in pairs]

    def _check_values(self, values: Any, teacher: Any, student: Any, labels: Any) -> Any:
        """Return the values with the student's mask if they are per sample or per position."""
        per_position = not isinstance(student, (list, tuple)) and len(student.shape) > 2
        positions = tuple(student.shape[1:-1]) if per_position else ()
        found = tuple(values.shape)
        sizes = [x.shape[0] for x in tree.flatten((teacher, student, labels)) if x is not None]
        is_batch = found[:1] == (None,) or found[:1] in {(size,) for size in sizes}
        if not is_batch or not (len(found) == 1 or shapes_agree(found, (None, *positions))):
            shapes = " or ".join(["(batch,)"] + [_with_batch(positions)] * per_position)
            raise ValueError(
                f"{type(self).__name__}: `call` must return one value per sample"
                f"{' or per position' * per_position}, of shape {shapes}, for the student's tap of "
                f"shape {tree.map_structure(lambda x: tuple(x.shape), student)}. "
                f"Received: values of shape {found}"
            )
        if len(found) == 1:
            self.reject_masks(student)
            return values
        mask = get_mask(student)
        if mask is None:
            return values
        if not shapes_agree(tuple(mask.shape), found[: len(mask.shape)]):
            raise ValueError(
                f"{type(self).__name__}: the mask of the student's tap, of shape "
                f"{tuple(mask.shape)}, is not one of its steps. For the scores of an attention use "
                f"kd.losses.AttentionScores. Received: values of shape {found}"
            )
        return set_mask(values, mask)

    def reject_masks(self, student: Any) -> None:
        """Reject a student's tap with masked steps, for a loss that has one value per sample.

        Raises:
            ValueError: If a step is masked.
        """
        if any(get_mask(x) is not None for x in tree.flatten(student)):
            raise ValueError(
                f"{type(self).__name__} cannot skip the masked steps of a sequence. Tap a layer "
                "after the sequence, or use a loss with a value per step, such as SoftTargets."
            )

    def compare(
        self, projector: keras.layers.Layer | None, teacher: Any, student: Any, labels: Any = None
    ) -> Any:
        """Project the student's tap and compute the loss; `Distiller` calls this.

        Override it if the teacher's tap is projected, too.

        Args:
            projector: The result of `make_projector` for this teacher.
            teacher: The teacher's tap.
            student: The student's tap before projection.
            labels: As in `call`.

        Returns:
            As `__call__`; `mean_per_sample` reduces it to one value per sample.
        """
        if projector is not None:
            projected = projector(student)
            student = tree.map_structure(self._keep_mask, projected, student)
        return self(teacher, student, labels)

    def _keep_mask(self, projected: Any, student: Any) -> Any:
        """Return the projected tap with the mask of the student's tap."""
        mask = get_mask(student)
        if mask is None or get_mask(projected) is not None:
            return projected
        steps, kept = student.shape[: len(mask.shape)], projected.shape[: len(mask.shape)]
        if not shapes_agree(steps, kept):
            raise ValueError(
                f"{type(self).__name__}: the projector changes the steps of a sequence with masked "
                f"steps from {tuple(steps)} to {tuple(kept)}, so they cannot be skipped. Choose "
                f"taps of equal length. Received: student_tap={self.student_tap!r}, "
                f"teacher_tap={self.teacher_tap!r}"
            )
        return set_mask(projected, mask)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the loss of each sample, or of each of its positions.

        Args:
            teacher: The teacher's tap, (batch, ..., channels).
            student: The student's tap, of the same rank, projected if there is a projector.
            labels: Integer labels (batch, ...) or one-hot (batch, ..., classes), or `None`. Missing
                ones are -1 or NaN, as in the data.

        Returns:
            Float tensor of shape (batch,), or the shape of `student` without the last axis.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define `call`.")

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> keras.layers.Layer | None:
        """Create the trainable projection of the student's tap to the teacher's shape.

        The base class has no projector and requires equal shapes.

        Args:
            teacher_shape: Shape of the teacher's tap, batch first.
            student_shape: Shape of the student's tap, batch first.

        Returns:
            A layer, or `None` if none is needed.

        Raises:
            ValueError: If the shapes do not match.
        """
        if not shapes_agree(teacher_shape, student_shape):
            raise ValueError(
                f"{type(self).__name__}: teacher {_describe_tap(self.teacher_tap)} has shape "
                f"{teacher_shape} and student {_describe_tap(self.student_tap)} {student_shape}; "
                "they must be equal. Give the student as many outputs as the teacher has, map the "
                "teacher's classes with kd.Teacher(model, classes=[...]), or choose other taps."
            )

    def resolve_taps(
        self, teachers: Sequence[keras.Model | None], students: Sequence[keras.Model]
    ) -> None:
        """Replace taps that were passed as layers by their paths in the models.

        Args:
            teachers: The models of which one has the layer; `None` for one that is not at hand.
            students: The same for the student's tap.

        Raises:
            ValueError: If no model has the layer.
        """
        for name, models in (("teacher_tap", teachers), ("student_tap", students)):
            tap, owner = getattr(self, name), type(self).__name__
            if isinstance(tap, (list, tuple)):
                setattr(self, name, [resolve_tap(one, models, name, owner) for one in tap])
            else:
                setattr(self, name, resolve_tap(tap, models, name, owner))

    def choose_taps(self, teacher: keras.Model | None, student: keras.Model) -> None:
        """Choose the taps when the models are known; does nothing in the base class.

        Args:
            teacher: The first teacher's model, or `None` if there is none yet.
            student: The student.

        Raises:
            ValueError: If the choice needs a teacher and there is none.
        """

    def check_head(self, activation: str | None, shape: tuple[int | None, ...]) -> None:
        """Reject a teacher whose outputs the loss would misinterpret.

        The base class rejects binary outputs if the loss is only for classes.

        Args:
            activation: The final activation, `"softmax"` or `"sigmoid"`, or `None`.
            shape: Shape of the teacher's output.

        Raises:
            ValueError: If the loss does not support the output.
        """
        if self.tasks == ("classes",) and (activation == "sigmoid" or shape[-1] == 1):
            raise ValueError(
                f"{type(self).__name__} needs mutually exclusive classes: a softmax over two "
                "classes or more. SoftTargets and OutputsMSE support binary outputs. Received: a "
                f"teacher's output of shape {shape}, activation={activation!r}"
            )

    def declared_task(self, units: int) -> str | None:
        """Return the task that the arguments of the loss declare, for an output of some units."""
        return None

    def activation_of(self, units: int) -> str | None:
        """Return the activation that `call` applies to logits of some units.

        Returns:
            `"softmax"`, `"sigmoid"`, or `None` for a loss that compares the logits themselves.
        """
        return "softmax" if self.tasks == ("classes",) else None

    def set_task(self, task: str) -> None:
        """Tell the loss the task of its output; `Distiller` calls this in `compile`.

        Args:
            task: `"classes"`, `"binary"`, `"labels"` (independent ones) or `"values"` (regression).

        Raises:
            ValueError: If the loss is not for this task.
        """
        if task not in self.tasks:
            meant = " or ".join(MEANINGS[one] for one in self.tasks)
            raise ValueError(
                f"{type(self).__name__} ('{self.name}') is for {meant}, but its output is "
                f"{MEANINGS[task]}. Pass other `losses`, such as kd.losses.OutputsMSE() for a "
                "regression or kd.losses.SoftTargets(activation='sigmoid') for labels; or declare "
                "`outputs=` of kd.Teacher and `student_outputs=`. The task follows from them, "
                f"from the compiled loss and from the activation of the output. Received: {task!r}"
            )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "weight": float(self.weight),
            "teacher_tap": self.teacher_tap,
            "student_tap": self.student_tap,
            "name": self.name,
        }


def shapes_agree(one: tuple, other: tuple) -> bool:
    """Return whether two shapes match except for the batch; an unknown size matches any size."""
    return len(one) == len(other) and all(
        a == b or a is None or b is None for a, b in zip(one[1:], other[1:], strict=True)
    )


def at_least_float32(x: Any) -> Any:
    """Cast half precision to float32, and keep the mask."""
    mask = get_mask(x)  # A cast does not keep it.
    x = ops.convert_to_tensor(x)
    if keras.backend.standardize_dtype(x.dtype) != "float64":
        x = ops.cast(x, "float32")
    return x if mask is None else set_mask(x, mask)


def snake_case(name: str) -> str:
    """Convert `SoftTargets` to `soft_targets` and `OutputsMSE` to `outputs_mse`."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name).lower()


def _with_batch(positions: tuple) -> str:
    return f"(batch, {', '.join(str(size) for size in positions)})"


def _describe_tap(tap: str | None) -> str:
    return "output" if tap is None else f"tap '{tap}'"
