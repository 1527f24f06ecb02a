"""The base class of all distillation losses: one value per sample, from two taps."""

import re
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter


class DistillationLoss(keras.layers.Layer):
    """How far a student's tap is from a teacher's tap, for each sample.

    Subclasses override `call`, and `make_projector` when the two taps may differ in shape. `call`
    gets float32 (or float64) tensors and returns one value per sample, so that sample weights,
    class weights and the weights of several teachers apply to it.

    Args:
        weight: What the mean of the values is multiplied by in the total loss; a hyperparameter,
            so a callback may change it while training. Defaults to 1.
        teacher_tap: The place in the teacher: a layer's name, `outer/inner` inside a nested model,
            an output's name, or `None` for the output. Defaults to `None`.
        student_tap: The place in the student. Defaults to `None`.
        name: Name in the history. Defaults to the class's name in snake case.

    Raises:
        ValueError: When `weight` is negative or not finite.

    Example:
        >>> class MeanAbsoluteLogits(kd.losses.DistillationLoss):
        ...     def call(self, teacher, student, labels=None):
        ...         return keras.ops.mean(keras.ops.abs(teacher - student), axis=-1)
        >>> loss = MeanAbsoluteLogits(weight=0.5)
        >>> loss(teacher_logits, student_logits).shape  # (batch,)
    """

    #: What `call` is given: the logits of an output, or the tap as it stands.
    on_logits = True
    #: Whether `call` cannot do without labels.
    needs_labels = False

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
        self.teacher_tap = teacher_tap
        self.student_tap = student_tap
        self.built = True

    def __call__(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Checks nothing, lifts half precision to float32 and runs `call`."""
        return super().__call__(_at_least_float32(teacher), _at_least_float32(student), labels)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Computes the loss of each sample.

        Args:
            teacher: The teacher's tap, (batch, ...).
            student: The student's tap, (batch, ...), through the projector if there is one.
            labels: Integer labels (batch, ...) or one-hot (batch, ..., classes), or `None`.

        Returns:
            Float tensor of shape (batch,).
        """
        raise NotImplementedError(f"{type(self).__name__} does not define `call`.")

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> keras.layers.Layer | None:
        """Makes the trainable map from the student's tap to the teacher's shape.

        The base class has none, so here the two shapes must agree.

        Args:
            teacher_shape: Shape of the teacher's tap, batch first.
            student_shape: Shape of the student's tap, batch first.

        Returns:
            A layer, or `None` where none is needed.

        Raises:
            ValueError: When the shapes do not fit, in words that say which.
        """
        if not shapes_agree(teacher_shape, student_shape):
            raise ValueError(
                f"{type(self).__name__}: teacher {_place(self.teacher_tap)} has shape "
                f"{teacher_shape} and student {_place(self.student_tap)} {student_shape}; they "
                "must be equal. Give the student as many outputs as the teacher has, or choose "
                "other taps."
            )

    def check_head(self, activation: str | None, shape: tuple[int | None, ...]) -> None:
        """Refuses a teacher whose output this loss does not understand; the base refuses none.

        Args:
            activation: `"softmax"` or `"sigmoid"` where the teacher's output is made by one.
            shape: Shape of the teacher's output.

        Raises:
            ValueError: When the loss would read the output wrongly.
        """

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "weight": float(self.weight),
            "teacher_tap": self.teacher_tap,
            "student_tap": self.student_tap,
            "name": self.name,
        }


def shapes_agree(one: tuple, other: tuple) -> bool:
    """Whether two shapes are equal but for the batch, unknown sizes fitting any."""
    return len(one) == len(other) and all(
        a == b or a is None or b is None for a, b in zip(one[1:], other[1:], strict=True)
    )


def mean_per_sample(values: Any) -> Any:
    """The mean over all axes but the first: (batch, ...) to (batch,)."""
    axes = tuple(range(1, len(values.shape)))
    return ops.mean(values, axis=axes) if axes else values


def _at_least_float32(x: Any) -> Any:
    x = ops.convert_to_tensor(x)
    return x if keras.backend.standardize_dtype(x.dtype) == "float64" else ops.cast(x, "float32")


def snake_case(name: str) -> str:
    """`SoftTargets` to `soft_targets`, `LogitsMSE` to `logits_mse`."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name).lower()


def _place(tap: str | None) -> str:
    return "output" if tap is None else f"tap '{tap}'"
