"""Distillation from one or several frozen teachers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_kd.distillers.arguments import check_same_view
from keras_kd.distillers.base import BaseDistiller
from keras_kd.distillers.default_losses import distiller_losses
from keras_kd.distillers.distillation_objective import DistillationObjective
from keras_kd.distillers.loss_taps import as_shapes
from keras_kd.losses import DistillationLoss, LabelsFirst
from keras_kd.models.declaration import Declaration
from keras_kd.models.graph import require_built
from keras_kd.models.user_warnings import warn_user
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.output_teachers import OutputTeachers
from keras_kd.teachers.teacher import Teacher
from keras_kd.teachers.weighting import Weighting
from keras_kd.training import backend
from keras_kd.training.augmentation import Augmentation
from keras_kd.training.keywords import explain_keywords
from keras_kd.training.weight_rule import KeepZeros, pruned_variables


@keras.saving.register_keras_serializable(package="keras_kd")
class Distiller(BaseDistiller):
    """Train a student from labels and from one or several frozen teachers.

    A `keras.Model`: `compile`, `fit`, `evaluate`, `predict`, callbacks and checkpoints work as for
    any other. Each step runs every teacher once, outside the gradient tape, and the student once.
    The total loss is

        student_loss_weight · student_loss + Σ weight · distillation_loss + regularization

    where `student_loss` is the compiled loss on the labels. The history holds `loss`,
    `student_loss`, each distillation loss under its name (before its weight) and the compiled
    metrics. Sample and class weights apply to every part; if a sample has several weights (one per
    pixel), their mean applies to its distillation losses.

    `evaluate` and validation run the student alone: `val_loss` is the compiled loss plus the
    regularization, without the distillation losses, so compare `val_student_loss` with
    `student_loss`, and not `val_loss` with `loss`. With `compile(loss=None)` they run the teachers
    too (or read joined outputs of a cache): `val_loss` is the same sum as `loss`, without noise,
    and `val_agreement` the share of samples whose predicted class is that of the teachers. Where a
    teacher has no outputs for the validation data, there is no `val_loss`.

    A sample may have no label: `kd.UNLABELED` (-1) or the `ignore_class` of the loss as its class
    index, or a row of NaN in one-hot labels (or NaN for a single output; for a cross-entropy -1 as
    well). Of several labels or targets, single ones may be NaN, if the loss is a mean over them.
    The compiled loss is the mean over the labeled samples (or pixels, or elements), 0 if there are
    none, and the metrics count only those; the distillation losses use all samples. A loss or
    metric that returns one value per batch (or row) cannot omit a part of it, and rejects such a
    batch.

    Args:
        student: The model to train, built: Functional, Sequential or subclassed.
        teachers: A trained `keras.Model`, a `kd.Teacher`, or a list of either. A dictionary has a
            teacher for each output of the student; the teacher's tap `"OUTPUT/LAYER"` is a layer of
            one of them.
        losses: A `kd.losses.DistillationLoss`, its name, or a list of either. Defaults to `None`,
            a loss for each output by its task, which `compile` decides:
            `kd.losses.SoftTargets(2, weight=0.5)` for classes, a yes-or-no question or labels,
            `kd.losses.OutputsMSE(weight=0.5)` for a regression, each in `kd.losses.LabelsFirst`:
            the teacher joins after one or two epochs, if its error on the labels is less than a
            third of the student's, and from the start without labels, in a single epoch or with a
            `weighting`.
            Several outputs learn the teacher's outputs of the same names; `summary()` lists the
            losses.
        student_loss_weight: Weight of the compiled loss, a hyperparameter. Defaults to `0.5`.
        weighting: Weights of several teachers per sample, one of `kd.weighting`. Defaults to
            `kd.weighting.Uniform()`.
        noise: A `kd.noise.LogitNoise` on the teacher outputs. Defaults to `None`.
        combine: How several teachers are combined: `"losses"` computes each loss once per teacher
            and weights the values; `"probabilities"` and `"logits"` average the teachers' outputs
            with their weights into one target. Hints are always computed per teacher. Defaults to
            `"losses"`.
        class_names: Names of the student's classes, in order, for teachers with named classes.
            Defaults to `None`.
        student_outputs: Type of the student's outputs: `"logits"`, `"probabilities"`, `"values"` or
            `"auto"`, which reads it from the model; for all outputs, or in a dict by output. As for
            `kd.Teacher(outputs=...)`. Defaults to `"auto"`.
        augment: Augmentation of the student's inputs in training: a Keras layer, a list of layers,
            or a function of x; drawn anew in each step. It only gets x, so it must not change the
            label. Defaults to `None`.
        same_view: Whether the teachers get the augmented inputs too. Otherwise they get the
            unchanged ones; stored outputs of a teacher are for those. Defaults to `True`.
        on_bad_batch: What to do if a batch, or a teacher's output for it, has NaN or infinite
            values: `"raise"` an error that names it, or `"skip"` the batch, which then changes
            nothing but `skipped_batches` in the history. Defaults to `"raise"`.
        preserve_sparsity: Whether weights of the student that are zero when `fit` starts stay zero,
            in kernels with at least 10 % zeros: those that `kd.compression.prune` has pruned.
            Defaults to `False`.
        name: Name of the model. Defaults to `None`.

    Raises:
        TypeError: If student or teacher is not a `keras.Model`.
        ValueError: If a model is not built, a tap does not exist, teacher and student do not match
            or a weight is negative.

    Example:
        >>> distiller = kd.Distiller(student, teacher, kd.losses.SoftTargets(temperature=4))
        >>> distiller.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> history = distiller.fit(train, validation_data=validation, epochs=20)
        >>> distiller.student.save("student.keras")

    Reference:
        Hinton et al. 2015, arXiv:1503.02531.
    """

    @explain_keywords()
    def __init__(
        self,
        student: keras.Model,
        teachers: keras.Model
        | Teacher
        | Mapping[str, keras.Model | Teacher]
        | Sequence[keras.Model | Teacher],
        losses: str | DistillationLoss | Sequence[str | DistillationLoss] | None = None,
        student_loss_weight: float = 0.5,
        weighting: Weighting | None = None,
        noise: LogitNoise | None = None,
        combine: str = "losses",
        class_names: Sequence[str] | None = None,
        student_outputs: Declaration = "auto",
        augment: Augmentation | Sequence[keras.layers.Layer] | None = None,
        same_view: bool = True,
        on_bad_batch: str = "raise",
        preserve_sparsity: bool = False,
        name: str | None = None,
    ) -> None:
        require_built(student, "The student")
        losses = distiller_losses(student, teachers, weighting) if losses is None else losses
        objective = DistillationObjective(
            student, losses, teachers, student_outputs, weighting, noise, combine, class_names
        )
        _warn_if_swapped(student, objective.teachers, objective.student.output_names)
        check_same_view(augment is not None and same_view, objective.teachers)
        super().__init__(
            student,
            objective,
            student_loss_weight,
            augment=augment,
            same_view=same_view,
            on_bad_batch=on_bad_batch,
            name=name,
        )
        self.preserve_sparsity = preserve_sparsity
        if preserve_sparsity:
            self.weight_rule = KeepZeros(())  # Until the zeros are known.

    def make_train_function(self, force: bool = False) -> None:
        """Compile the step; see `keras.Model.make_train_function`."""
        if self.preserve_sparsity:
            before = self.weight_rule
            self.weight_rule = KeepZeros(pruned_variables(self.student.trainable_variables))
            force = force or self.weight_rule != before
        super().make_train_function(force)

    def target_models(self) -> list[keras.Model | None]:
        """Return the models of the teachers; see `KerasInterface`."""
        return [teacher.model for teacher in self.teachers]

    # A property's setter would not do: Keras tracks whatever is assigned to an attribute.
    def set_teachers(
        self,
        teachers: keras.Model
        | Teacher
        | Mapping[str, keras.Model | Teacher]
        | Sequence[keras.Model | Teacher],
    ) -> None:
        """Set the teachers, for example of a distiller that was loaded from a file.

        Args:
            teachers: As in the constructor.

        Raises:
            TypeError: If one is neither a `keras.Model` nor a `kd.Teacher`.
            ValueError: If they do not match the student or the losses.
        """
        projectors, self._compared = self.objective.projectors, False
        for loss in self.distillation_losses if self.teachers else ():
            if isinstance(loss, LabelsFirst):
                loss.restart()
        with backend.strategy_scope(self):
            self.objective.set_teachers(teachers)
        check_same_view(self.augment is not None and self.same_view, self.teachers)
        self._decide_xla()
        # The compiled steps hold the teachers that they were made with.
        self.train_function = self.test_function = None
        if self.objective.projectors is not projectors:
            self.compiled = False  # The optimizer does not know the new projectors.

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, and the shapes at the teachers' taps."""
        objective = self.objective
        return {
            "student": keras.saving.serialize_keras_object(self.student),
            "losses": [keras.saving.serialize_keras_object(x) for x in self.distillation_losses],
            "student_loss_weight": float(self.student_loss_weight),
            "weighting": keras.saving.serialize_keras_object(objective.weighting),
            "noise": keras.saving.serialize_keras_object(objective.noise),
            "combine": objective.combine,
            "class_names": objective.class_names,
            "student_outputs": objective.student_outputs,
            "augment": keras.saving.serialize_keras_object(self.augment),
            "same_view": self.same_view,
            "on_bad_batch": self.on_bad_batch,
            "preserve_sparsity": self.preserve_sparsity,
            "teacher_shapes": objective.teacher_shapes,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Distiller":
        """Create the distiller that was saved; set its teachers before training continues."""
        shapes = config.pop("teacher_shapes")
        config["student"] = keras.saving.deserialize_keras_object(config["student"], custom_objects)
        for name in ("weighting", "noise", "augment"):
            if config[name] is not None:
                config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        distiller = cls(**config, teachers=None)
        if shapes is not None:
            # The projectors must exist before their weights are loaded.
            distiller.objective.connect([[as_shapes(shape) for shape in taps] for taps in shapes])
        return distiller


def _warn_if_swapped(
    student: keras.Model, teachers: Sequence[Teacher], outputs: Sequence[str]
) -> None:
    """Warn of a student that is larger than all its teachers together."""
    by_output = [one for one in teachers if isinstance(one, OutputTeachers)]
    if any(set(outputs) - set(one.output_names) for one in by_output):
        return  # The student has outputs of which no teacher has the weights.
    sizes = [teacher.parameters for teacher in teachers]  # 0 for precomputed outputs.
    own, others = student.count_params(), sum(sizes)
    if all(sizes) and 0 < others < own:
        warn_user(
            f"The student '{student.name}' is larger than its teacher: it has {own:,} parameters, "
            f"and {[teacher.name for teacher in teachers]} {others:,}. If the arguments are "
            "swapped, note their order: kd.Distiller(student, teachers)."
        )
