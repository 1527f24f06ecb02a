"""Hints: a hidden layer of the student is led by a hidden layer of the teacher (FitNets)."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss, mean_per_sample
from keras_kd.losses.projector import fitting_projector


@keras.saving.register_keras_serializable(package="keras_kd")
class Hint(DistillationLoss):
    """Mean squared difference between a hidden tap of the teacher and one of the student.

    Where the taps differ in shape a projector is trained along with the student: a dense layer for
    vectors and sequences, a 1×1 convolution for maps, with resizing where their sizes differ. It
    is saved in checkpoints and is no part of the student.

    Args:
        teacher_tap: A layer of the teacher, `outer/inner` inside a nested model.
        student_tap: A layer of the student.
        projector: `"auto"` for the projector described above, `None` to allow none, or a Keras
            layer of your own that maps the student's tap to the teacher's shape. Defaults to
            `"auto"`.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        name: Name in the history. Defaults to `"hint"`.

    Raises:
        ValueError: When a tap is missing or the taps cannot be brought to one shape.

    Example:
        >>> hint = kd.losses.Hint("block3_out", "stage2_relu", weight=0.1)
        >>> kd.Distiller(student, teacher, losses=[kd.losses.SoftTargets(), hint])

    Reference:
        Romero et al. 2015, arXiv:1412.6550, equation 3. Golden: `hint_mse`.
    """

    on_logits = False

    def __init__(
        self,
        teacher_tap: str,
        student_tap: str,
        projector: str | keras.layers.Layer | None = "auto",
        weight: float = 1.0,
        name: str | None = None,
    ) -> None:
        if not teacher_tap or not student_tap:
            raise ValueError(
                "Hint: `teacher_tap` and `student_tap` must each name a layer. "
                f"Received: teacher_tap={teacher_tap!r}, student_tap={student_tap!r}"
            )
        if not (projector in ("auto", None) or isinstance(projector, (keras.layers.Layer, dict))):
            raise ValueError(
                "Hint: `projector` must be 'auto', None or a Keras layer. "
                f"Received: projector={projector!r}"
            )
        super().__init__(weight, teacher_tap, student_tap, name)
        if isinstance(projector, keras.layers.Layer):
            # Each teacher gets a copy of its own, which belongs to the distiller.
            projector = keras.saving.serialize_keras_object(projector)
        self.projector = projector

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Computes the mean squared difference of each sample, (batch,)."""
        return mean_per_sample(ops.square(ops.cast(teacher, student.dtype) - student))

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> keras.layers.Layer | None:
        """Makes a projector for one teacher; see the base class."""
        if self.projector is None:
            return super().make_projector(teacher_shape, student_shape)
        if self.projector == "auto":
            try:
                return fitting_projector(teacher_shape, student_shape, f"{self.name}_projector")
            except ValueError as error:
                raise ValueError(
                    f"Hint: teacher tap '{self.teacher_tap}' has shape {teacher_shape} and student "
                    f"tap '{self.student_tap}' {student_shape}; {error}. Choose other taps or pass "
                    "a layer that maps one to the other. Received: projector='auto'"
                ) from error
        projector = keras.saving.deserialize_keras_object(self.projector)
        return _checked(projector, teacher_shape, student_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "projector": self.projector}


def _checked(
    projector: keras.layers.Layer, teacher_shape: tuple, student_shape: tuple
) -> keras.layers.Layer:
    given = tuple(projector(keras.KerasTensor(student_shape)).shape)
    if given[1:] != tuple(teacher_shape[1:]):
        raise ValueError(
            f"Hint: the projector '{projector.name}' maps the student's tap {student_shape} to "
            f"{given}, but the teacher's tap has shape {teacher_shape}."
        )
    return projector
