"""Adversarial mimicry: one discriminator per chunk distinguishes student and teacher outputs."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import at_least_float32, shapes_agree
from keras_kd.losses.numerics import mean_over_channels
from keras_kd.losses.reduction import mean_over_samples
from keras_kd.models.graph import input_shapes
from keras_kd.models.keras_compat import copy_mask, detach, get_mask, set_mask
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.teacher_class.students import build_models, output_shapes
from keras_kd.training import backend
from keras_kd.training.hyperparameters import Hyperparameter


def make_discriminators(
    discriminators: Any,
    optimizer: Any,
    weight: float,
    chunks: Sequence[Sequence[int]],
    numbers: Sequence[int],
    students: Sequence[keras.Model],
) -> "Discriminators | None":
    """Build the discriminators of some students.

    Raises:
        TypeError: If `discriminators`, or one of them, has the wrong type.
        ValueError: If one does not fit.
    """
    if discriminators is None:
        return None
    models = build_models(
        discriminators, [len(chunk) for chunk in chunks], numbers, "discriminators"
    )
    shapes = [output_shapes(student)[0] for student in students]
    return Discriminators(models, optimizer, weight, numbers, shapes)


class Discriminators(keras.layers.Layer):
    """The discriminators of all students, and their optimizer.

    Each classifies its chunk of the teacher as 1 and its student's output as 0, with the
    cross-entropy; its student is trained to be classified as 1.

    Args:
        discriminators: One per student, ending in one logit or one sigmoid.
        optimizer: Their optimizer.
        weight: The weight of the students' adversarial loss; a hyperparameter.
        numbers: The number of each student.
        shapes: The shape of each student's chunk, batch first.

    Raises:
        ValueError: If a discriminator does not accept its chunk, or has more than one output unit.
    """

    weight = Hyperparameter()

    def __init__(
        self,
        discriminators: Sequence[keras.Model],
        optimizer: Any,
        weight: float,
        numbers: Sequence[int],
        shapes: Sequence[tuple],
    ) -> None:
        for number, model, shape in zip(numbers, discriminators, shapes, strict=True):
            _require_fit(model, number, shape)
        dtype = discriminators[0].dtype_policy
        super().__init__(name="adversary", dtype=dtype, autocast=False)
        self.discriminators = list(discriminators)
        self.weight = weight
        tap = Tap(None, logits=True)
        self._tapped = [TappedModel(model, [tap], training=True) for model in discriminators]
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if dtype.name == "mixed_float16" and not scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        self.optimizer = optimizer
        self.optimizer.build(self.trainable_variables)
        self.built = True

    def adversarial_loss(self, i: int, output: Any) -> Any:
        """Return the cross-entropy of student `i` classified as the teacher, (batch, ...)."""
        return _keep_steps(output, mean_over_channels(ops.softplus(-self._logit(i, output))))

    def train_step(
        self, chunks: Sequence[Any], outputs: Sequence[Any], weights: Any, share: Any = None
    ) -> list[Any]:
        """Train all discriminators for one step.

        Args:
            chunks: The targets of the students.
            outputs: The outputs of the students.
            weights: Sample weights (batch, ...), or `None`.
            share: This replica's share of the samples, as `replica_share` returns it.
        """

        def compute() -> tuple[list[Any], Any]:
            losses = []
            for i, (chunk, output) in enumerate(zip(chunks, outputs, strict=True)):
                # The masked steps of the student are those of its target.
                real, fake = copy_mask(output, chunk), detach(output)
                values = mean_over_channels(ops.softplus(-self._logit(i, real)))
                values += mean_over_channels(ops.softplus(self._logit(i, fake)))
                losses.append(mean_over_samples(_keep_steps(output, values / 2), weights))
            terms = [backend.per_replica(loss, share) for loss in losses]
            terms += [backend.per_replica(ops.sum(term)) for term in self.losses]
            return losses, ops.sum(terms)

        losses, _ = backend.update_variables(self, compute)
        return losses

    def _logit(self, i: int, values: Any) -> Any:
        values, cut = backend.fill_empty_replica(values)
        _, taps = self._tapped[i](values)
        return at_least_float32(cut(next(iter(taps.values()))))


def _keep_steps(output: Any, values: Any) -> Any:
    """Return values with the Keras mask of the student's output, if they are per step."""
    mask = get_mask(output)
    per_step = mask is not None and len(values.shape) >= len(mask.shape)
    return set_mask(values, mask) if per_step else values


def _require_fit(model: keras.Model, number: int, shape: tuple) -> None:
    inputs, outputs = input_shapes(model), output_shapes(model)
    accepted = inputs is None or (len(inputs) == 1 and shapes_agree(inputs[0], shape))
    if not accepted or len(outputs) != 1 or outputs[0][-1] != 1:
        raise ValueError(
            f"TeacherClass: discriminator {number} ('{model.name}') must accept its chunk, of "
            f"shape {shape}, and return one value for it (or for each position). Received: inputs "
            f"{inputs}, outputs {outputs}"
        )
