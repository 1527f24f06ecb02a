"""Multi-level logits distillation (MLKD): soft targets and relations at several temperatures."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import gram_matrix, kullback_leibler
from keras_kd.training.hyperparameters import Hyperparameter


@keras.saving.register_keras_serializable(package="keras_kd")
class MultiTemperature(DistillationLoss):
    """Soft targets, relations between samples and relations between classes, at several T.

    With P the teacher's and Q the student's softmax at temperature T, one row for each of B samples
    and C columns, the mean over the temperatures of

        instance · T² · mean_i KL(P_i ‖ Q_i)
        + batch · ‖P Pᵀ − Q Qᵀ‖² / B + classes · ‖Pᵀ P − Qᵀ Q‖² / C

    Each sample gets its rows of the second term and the same share of the third, which grows with
    the batch. The relations are those of a batch, under `tf.distribute` of a replica's part of it.

    This is the loss of the paper. The authors' training script also drops samples and classes of
    which the teacher is not certain, and compares weak and strong augmentations of an image; this
    loss does neither.

    Args:
        temperatures: All T. Defaults to 2, 3, 4, 5 and 6, as in the paper.
        instance: Weight of the soft targets, a hyperparameter. Defaults to 1.
        batch: Weight of the relations between samples, a hyperparameter. Defaults to 1.
        classes: Weight of the relations between classes, a hyperparameter. Defaults to 1.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        teacher_tap: Name of the teacher's output if it has several. Defaults to `None`.
        student_tap: Name of the student's output if it has several. Defaults to `None`.
        name: Name in the history. Defaults to `"multi_temperature"`.

    Raises:
        ValueError: If the outputs are binary, sequences or maps, or a number is out of range.

    Example:
        >>> loss = kd.losses.MultiTemperature()
        >>> loss(teacher_logits, student_logits)  # (batch,)

    Reference:
        Jin, Wang and Lin 2023, "Multi-level logit distillation", CVPR, section 3.
    """

    tasks = ("classes",)
    instance = Hyperparameter()
    batch = Hyperparameter()
    classes = Hyperparameter()

    def __init__(
        self,
        temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
        instance: float = 1.0,
        batch: float = 1.0,
        classes: float = 1.0,
        weight: float = 1.0,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight, teacher_tap, student_tap, name)
        self.temperatures = [float(temperature) for temperature in temperatures]
        if not self.temperatures or not all(0 < t < float("inf") for t in self.temperatures):
            raise ValueError(
                "MultiTemperature: `temperatures` must be finite numbers above 0, at least one. "
                f"Received: temperatures={temperatures!r}"
            )
        self.instance = instance
        self.batch = batch
        self.classes = classes

    def make_projector(
        self, teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...]
    ) -> None:
        """Check the shapes; see the base class."""
        super().make_projector(teacher_shape, student_shape)
        self._require_rows(student_shape)

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute each sample's share of the three terms, (batch,)."""
        self._require_rows(student.shape)
        weights = (self.instance, self.batch, self.classes)
        instance, batch, classes = (ops.cast(weight, student.dtype) for weight in weights)
        temperatures = ops.convert_to_tensor(self.temperatures, student.dtype)
        inverse = ops.reshape(1.0 / temperatures, (-1, 1, 1))
        log_p, log_q = (ops.log_softmax(x * inverse, axis=-1) for x in (teacher, student))
        p, q = ops.exp(log_p), ops.exp(log_q)
        squared = ops.expand_dims(ops.square(temperatures), -1)
        values = instance * squared * kullback_leibler(log_p, log_q)
        between_samples = ops.square(gram_matrix(p) - gram_matrix(q))
        values = values + batch * ops.sum(between_samples, axis=-1)
        p, q = (ops.transpose(x, (0, 2, 1)) for x in (p, q))
        between_classes = ops.sum(ops.square(gram_matrix(p) - gram_matrix(q)), axis=(1, 2))
        values = values + classes * ops.expand_dims(between_classes, -1) / student.shape[-1]
        return ops.mean(values, axis=0)

    def _require_rows(self, shape: Any) -> None:
        if len(shape) != 2:
            raise ValueError(
                "MultiTemperature relates the samples of a batch, so it needs outputs of shape "
                "(batch, classes). For sequences and maps use SoftTargets, or DIST for relations. "
                f"Received: outputs of shape {tuple(shape)}"
            )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "temperatures": self.temperatures,
            "instance": float(self.instance),
            "batch": float(self.batch),
            "classes": float(self.classes),
        }
