"""The base class of all distillation losses: one value per sample, from two taps."""

import re
from typing import Any

import keras
from keras import ops, tree

from keras_kd.training.hyperparameters import Hyperparameter


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
    #: Whether `call` takes a `student_mask` (batch, time), which Keras hands on from the student.
    takes_mask = False
    #: Whether `call` cannot do without labels.
    needs_labels = False
    #: Whether `call` reads the output as one class of several.
    needs_classes = False
    #: Whether `call` relates the samples of a batch to each other, so that one alone says nothing.
    relates_samples = False

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
        """Asks for labels where they are needed, lifts half precision to float32, runs `call`."""
        if self.needs_labels and labels is None:
            raise ValueError(
                f"{type(self).__name__} needs labels: pass `y` to `fit` (integer or one-hot; -1 "
                "for a sample that has none), or use SoftTargets, which needs none. "
                "Received: labels=None"
            )
        masked = any(getattr(x, "_keras_mask", None) is not None for x in tree.flatten(student))
        if masked and not self.takes_mask:
            raise ValueError(
                f"{type(self).__name__} cannot leave out the masked steps of a sequence. Tap a "
                "layer behind the sequence, or use SoftTargets, LogitsMSE, DecoupledKD, "
                "NormalizedKD or Hint, which can."
            )
        teacher, student = tree.map_structure(_at_least_float32, (teacher, student))
        return super().__call__(teacher, student, labels)

    def compare(
        self, projector: keras.layers.Layer | None, teacher: Any, student: Any, labels: Any = None
    ) -> Any:
        """Runs the loss on taps as they come from the models: what `Distiller` calls.

        Override it where the teacher's side is projected too.

        Args:
            projector: What `make_projector` made for this teacher.
            teacher: The teacher's tap.
            student: The student's tap, not projected yet.
            labels: As in `call`.

        Returns:
            Float tensor of shape (batch,).
        """
        return self(teacher, student if projector is None else projector(student), labels)

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

    def choose_taps(self, teacher: keras.Model | None, student: keras.Model) -> None:
        """Lets a loss choose its taps once the models are known; the base has them already.

        Args:
            teacher: The first teacher's model, or `None` where there is none yet.
            student: The student.

        Raises:
            ValueError: When there is no teacher and no choice was made before.
        """

    def check_head(self, activation: str | None, shape: tuple[int | None, ...]) -> None:
        """Refuses a teacher whose output this loss does not understand.

        The base refuses a sigmoid or a single output where `needs_classes` is set.

        Args:
            activation: `"softmax"` or `"sigmoid"` where the teacher's output is made by one.
            shape: Shape of the teacher's output.

        Raises:
            ValueError: When the loss would read the output wrongly.
        """
        if self.needs_classes and (activation == "sigmoid" or shape[-1] == 1):
            raise ValueError(
                f"{type(self).__name__} reads the output as one class of several, so it needs a "
                "softmax over two classes or more; SoftTargets and LogitsMSE take binary outputs. "
                f"Received: a teacher's output of shape {shape}, activation={activation!r}"
            )

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


def mean_per_sample(values: Any, mask: Any = None) -> Any:
    """The mean over all axes but the first: (batch, ...) to (batch,).

    Args:
        values: (batch, ...).
        mask: (batch, time), false for steps that do not count, or `None`.

    Returns:
        (batch,); 0 for a sample of which no step counts.
    """
    if mask is None or len(values.shape) < len(mask.shape):
        axes = tuple(range(1, len(values.shape)))
        return ops.mean(values, axis=axes) if axes else values
    features = tuple(range(len(mask.shape), len(values.shape)))
    values = ops.mean(values, axis=features) if features else values
    mask = ops.cast(mask, values.dtype)
    # A step that is left out may hold anything, also what no finite loss comes of.
    values = ops.where(mask > 0, values, ops.zeros_like(values))
    axes = tuple(range(1, len(values.shape)))
    return ops.sum(values, axis=axes) / ops.maximum(ops.sum(mask, axis=axes), 1.0)


def _at_least_float32(x: Any) -> Any:
    # Keras hands a mask along as an attribute of the tensor; a cast would lose it.
    mask = getattr(x, "_keras_mask", None)
    x = ops.convert_to_tensor(x)
    if keras.backend.standardize_dtype(x.dtype) != "float64":
        x = ops.cast(x, "float32")
    if mask is not None:
        x._keras_mask = mask
    return x


def snake_case(name: str) -> str:
    """`SoftTargets` to `soft_targets`, `LogitsMSE` to `logits_mse`."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name).lower()


def _place(tap: str | None) -> str:
    return "output" if tap is None else f"tap '{tap}'"
