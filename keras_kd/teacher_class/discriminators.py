"""Adversarial mimicry: a discriminator for each chunk tells student from teacher."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_kd.losses.distillation_loss import mean_per_sample, shapes_agree
from keras_kd.losses.numerics import mean_over_samples
from keras_kd.models.graph import input_shapes
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.teacher_class.students import models_for, output_shapes
from keras_kd.training.distribution import fill_empty_replica, per_replica
from keras_kd.training.hyperparameters import Hyperparameter


def adversary_of(
    discriminators: Any,
    optimizer: Any,
    weight: float,
    chunks: Sequence[Sequence[int]],
    numbers: Sequence[int],
    students: Sequence[keras.Model],
) -> "Adversary | None":
    """The discriminators of a class.

    Args:
        discriminators: As for `TeacherClass`; `None` for none.
        optimizer: As for `Adversary`.
        weight: As for `Adversary`.
        chunks: The units of every chunk of the class.
        numbers: Number of each student.
        students: The students.

    Returns:
        The `Adversary`, or `None`.

    Raises:
        TypeError: When `discriminators` is no such thing.
        ValueError: When one does not fit.
    """
    if discriminators is None:
        return None
    sizes = [len(chunk) for chunk in chunks]
    judges = models_for(discriminators, sizes, numbers, "discriminators")
    shapes = [output_shapes(student)[0] for student in students]
    return Adversary(judges, optimizer, weight, numbers, shapes)


class Adversary(keras.layers.Layer):
    """The discriminators of a class, and their optimizer.

    Each tells its chunk of the teacher (1) from its student's answer (0), by cross-entropy; the
    student is led to be taken for the teacher.

    Args:
        discriminators: One for each student, ending in one logit or in one sigmoid.
        optimizer: Their optimizer.
        weight: What the students' adversarial loss is multiplied by; a hyperparameter.
        numbers: Number of each student.
        targets: Shape of each student's chunk, batch first.

    Raises:
        ValueError: When a discriminator does not take its chunk or gives more than one value.
    """

    weight = Hyperparameter()

    def __init__(
        self,
        discriminators: Sequence[keras.Model],
        optimizer: Any,
        weight: float,
        numbers: Sequence[int],
        targets: Sequence[tuple],
    ) -> None:
        for number, model, target in zip(numbers, discriminators, targets, strict=True):
            _require_fit(model, number, target)
        dtype = discriminators[0].dtype_policy
        super().__init__(name="adversary", dtype=dtype, autocast=False)
        self.discriminators = list(discriminators)
        self.weight = weight
        tap = Tap(None, logits=True)
        self._judges = [TappedModel(model, [tap], training=True) for model in discriminators]
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if dtype.name == "mixed_float16" and not scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        self.optimizer = optimizer
        self.optimizer.build(self.trainable_variables)
        self.built = True

    def mistaken(self, i: int, answer: Any) -> Any:
        """How far student `i` is from being taken for the teacher, (batch,)."""
        return mean_per_sample(ops.softplus(-self._logit(i, answer)))

    def learn(
        self, chunks: Sequence[Any], answers: Sequence[Any], weights: Any, share: Any = None
    ) -> list[Any]:
        """One step of all discriminators.

        Args:
            chunks: What the teacher says.
            answers: What the students say.
            weights: Sample weights (batch,), or `None`.
            share: This replica's share of the samples, as `share_of_replica` gives it.

        Returns:
            The loss of each.
        """
        with tf.GradientTape() as tape:
            losses = []
            for i, (chunk, answer) in enumerate(zip(chunks, answers, strict=True)):
                values = mean_per_sample(ops.softplus(-self._logit(i, chunk)))
                values += mean_per_sample(ops.softplus(self._logit(i, ops.stop_gradient(answer))))
                losses.append(mean_over_samples(values / 2, weights))
            terms = [per_replica(loss, share) for loss in losses]
            terms += [per_replica(ops.sum(term)) for term in self.losses]
            scaled = self.optimizer.scale_loss(ops.sum(terms))
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return losses

    def _logit(self, i: int, chunk: Any) -> Any:
        chunk, cut = fill_empty_replica(chunk)
        _, seen = self._judges[i](chunk)
        return ops.cast(cut(next(iter(seen.values()))), "float32")


def _require_fit(model: keras.Model, number: int, target: tuple) -> None:
    takes, gives = input_shapes(model), output_shapes(model)
    one = takes is None or (len(takes) == 1 and shapes_agree(takes[0], target))
    if not one or len(gives) != 1 or gives[0][-1] != 1:
        raise ValueError(
            f"TeacherClass: discriminator {number} ('{model.name}') must take its chunk, of shape "
            f"{target}, and give one value for it (or for each place). Received: inputs {takes}, "
            f"outputs {gives}"
        )
