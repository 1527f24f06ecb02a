"""Deep supervision: early exits that learn from the student's own final output."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import tree

from keras_kd.distillers.base import BaseDistiller
from keras_kd.distillers.default_losses import as_losses, copy_loss
from keras_kd.distillers.distillation_objective import DistillationObjective
from keras_kd.distillers.early_exits import Exits, ModelWithExits, build_exits
from keras_kd.distillers.loss_taps import teacher_tap
from keras_kd.losses import DistillationLoss
from keras_kd.models.declaration import Declaration
from keras_kd.models.graph import require_built
from keras_kd.models.layouts import from_channels_last
from keras_kd.models.random_state import seed_states
from keras_kd.models.tap_names import plain_name
from keras_kd.models.taps import Tap
from keras_kd.models.task import ACTIVATIONS
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.augmentation import Augmentation
from keras_kd.training.hyperparameters import Hyperparameter
from keras_kd.training.keywords import explain_keywords
from keras_kd.training.labels import Labels

_FINAL = Tap(None, logits=True)


@keras.saving.register_keras_serializable(package="keras_kd")
class DeepSupervision(BaseDistiller):
    """Train a student with early exits, whose teacher is the student's own final output.

    At each of `exits`, hidden taps of the student, there is a small classifier. It learns from the
    labels and, in the same forward pass, from the student's final output, without gradient into
    that output. So the lower layers get a second signal without a second pass. The total loss is

        student_loss_weight · student_loss + Σ over exits of
            (exit_loss_weight · loss on the labels + Σ weight · distillation_loss) + regularization

    The history holds `student_loss`, `exit_loss` (on the labels, the sum over the exits), the
    distillation losses of each exit as `TAP_NAME`, and the compiled metrics of the student. The
    exits are part of a checkpoint and not of the product, `student`, which is evaluated alone.

    Args:
        student: The model to train, built, with one output.
        exits: Hidden taps of the student (see `kd.taps`), or a dict from tap to a layer or model
            from there to logits. The default exit is, from a map, a 3×3 convolution, global average
            pooling and a dense layer; from a vector a dense layer; for a student that labels pixels
            a 1×1 convolution, resized. An exit has the layout (`data_format`) of the student.
        losses: As for `Distiller`: one on logits is computed at each exit; one between hidden taps,
            such as `kd.losses.Hint("last_map", "first_map")`, makes one of the student's layers the
            target of another. Defaults to `None`, by the task.
        student_loss_weight: Weight of the compiled loss at the final output, a hyperparameter.
            Defaults to `1.0`.
        exit_loss_weight: Weight of the compiled loss at the exits, a hyperparameter. Defaults to
            `0.5`.
        student_outputs: As for `Distiller`.
        augment: As for `Distiller`.
        on_bad_batch: As for `Distiller`.
        name: Name of the model. Defaults to `None`.

    Raises:
        TypeError: If an exit is not a layer.
        ValueError: If a tap does not exist, an exit does not match, or the student has several
            outputs.

    Example:
        >>> distiller = kd.DeepSupervision(student, ["block1", "block2"])
        >>> distiller.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> distiller.fit(train, epochs=20)
        >>> distiller.student.save("student.keras")  # without the exits

    Reference:
        Zhang et al. 2019, "Be your own teacher", arXiv:1905.08094.
    """

    exit_loss_weight = Hyperparameter()

    @explain_keywords()
    def __init__(
        self,
        student: keras.Model,
        exits: Exits,
        losses: str | DistillationLoss | Sequence[str | DistillationLoss] | None = None,
        student_loss_weight: float = 1.0,
        exit_loss_weight: float = 0.5,
        student_outputs: Declaration = "auto",
        augment: Augmentation | Sequence[keras.layers.Layer] | None = None,
        on_bad_batch: str = "raise",
        name: str | None = None,
    ) -> None:
        require_built(student, "The student")
        layers = build_exits(student, exits, student_outputs)
        super().__init__(
            student,
            _objective(student, layers, losses, student_outputs),
            student_loss_weight,
            label_losses=("student_loss", "exit_loss"),
            augment=augment,
            on_bad_batch=on_bad_batch,
            name=name,
        )
        #: By tap: the exits, which a checkpoint holds.
        self.exits = dict(layers)
        self.exit_loss_weight = exit_loss_weight
        self.seed_states = [*self.seed_states, *seed_states(list(layers.values()))]
        self._losses_passed = [keras.saving.serialize_keras_object(x) for x in as_losses(losses)]

    def label_losses(
        self, labels: Labels, y_pred: Any, sample_weight: Any, share: Any, student_outputs: Any
    ) -> list[tuple[str, Any, Any]]:
        """Return the losses on the labels, also those of the exits; see `BaseDistiller`."""
        losses = super().label_losses(labels, y_pred, sample_weight, share, student_outputs)
        if student_outputs is None or not losses:
            return losses
        outputs = [
            self._as_final_output(student_outputs[Tap(name, True)], y_pred) for name in self.exits
        ]
        loss = functools.partial(self._label_masking.loss, self.compiled_loss_fn, labels)
        hard = sum(loss(output, sample_weight, share) for output in outputs)
        return [*losses, ("exit_loss", hard, self.exit_loss_weight)]

    def _as_final_output(self, logits: Any, y_pred: Any) -> Any:
        """Return the output of an exit in the form of the student's output."""
        student = self.objective.student
        activation = student.activations.get(_FINAL)
        if student.kinds.get(_FINAL) == "probabilities":
            (name,) = student.output_names
            activation = ACTIVATIONS.get(self.objective.tasks.get(name), "softmax")
        if activation is not None:
            logits = keras.activations.get(activation)(logits)
        output = from_channels_last(logits, student.channel_axes[_FINAL])
        return tree.pack_sequence_as(y_pred, [output])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        return {
            "student": serialize(self.student),
            "exits": {name: serialize(layer) for name, layer in self.exits.items()},
            "losses": self._losses_passed,
            "student_loss_weight": float(self.student_loss_weight),
            "exit_loss_weight": float(self.exit_loss_weight),
            "student_outputs": self.objective.student_outputs,
            "augment": serialize(self.augment),
            "on_bad_batch": self.on_bad_batch,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "DeepSupervision":
        """Create the distiller that was saved."""
        made = keras.saving.deserialize_keras_object
        for name in ("student", "augment"):
            if config[name] is not None:
                config[name] = made(config[name], custom_objects)
        exits = {name: made(layer, custom_objects) for name, layer in config["exits"].items()}
        return cls(**{**config, "exits": exits})


def _objective(
    student: keras.Model, exits: dict[str, keras.layers.Layer], losses: Any, outputs: Declaration
) -> DistillationObjective:
    """Return the losses of the exits, whose targets are the student's outputs in the same pass."""
    losses = as_losses(losses)
    for loss in losses:
        loss.resolve_taps([student], [student])
    losses = [own for loss in losses for own in _at_each(loss, exits)]
    targets = tree.flatten([teacher_tap(loss) for loss in losses])
    tapped = functools.partial(ModelWithExits, exits, [*targets, _FINAL])
    teacher = Teacher(student, outputs=outputs)
    return DistillationObjective(student, losses, teacher, outputs, tapped=tapped, during=True)


def _at_each(loss: DistillationLoss, exits: dict[str, Any]) -> list[DistillationLoss]:
    """Return a loss on logits once per exit, and any other loss unchanged."""
    if not loss.on_logits:
        return [loss]
    return [
        copy_loss(loss, student_tap=name, name=f"{plain_name(name)}_{loss.name}") for name in exits
    ]
