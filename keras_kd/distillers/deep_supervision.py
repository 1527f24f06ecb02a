"""Deep supervision: early exits that learn from the student's own final output."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import tree

from keras_kd.distillers.base import BaseDistiller
from keras_kd.distillers.default_losses import as_losses, copy_loss
from keras_kd.distillers.distillation_objective import DistillationObjective
from keras_kd.distillers.early_exits import (
    Exits,
    ModelWithExits,
    build_exits,
    final_tap,
    split_exit,
)
from keras_kd.distillers.loss_taps import teacher_tap
from keras_kd.losses import DistillationLoss
from keras_kd.models.declaration import Declaration
from keras_kd.models.graph import require_built
from keras_kd.models.layouts import from_channels_last
from keras_kd.models.random_state import seed_states
from keras_kd.models.tap_names import plain_name
from keras_kd.models.taps import Tap, TappedModel, named_outputs
from keras_kd.models.task import ACTIVATIONS
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.augmentation import Augmentation
from keras_kd.training.hyperparameters import Hyperparameter
from keras_kd.training.keywords import explain_keywords
from keras_kd.training.labels import Labels


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

    A student with several outputs has an exit for each of them at each tap, `TAP.OUTPUT`, and
    `exit_loss` is the sum over them, with the weights of `compile`.

    Args:
        student: The model to train, built.
        exits: Hidden taps of the student (see `kd.taps`), or a dict from tap to a layer or model
            from there to logits, or to a dict of these by output. The default exit is, from a map,
            a 3×3 convolution, global average pooling and a dense layer; from a vector a dense
            layer; for a student that labels pixels a 1×1 convolution, resized. An exit has the
            layout (`data_format`) of the student.
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
        ValueError: If a tap does not exist, an exit or a loss does not match.

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
        #: By tap, or tap and output: the exits, which a checkpoint holds.
        self.exits = dict(layers)
        self.exit_loss_weight = exit_loss_weight
        self.seed_states = [*self.seed_states, *seed_states(list(layers.values()))]
        passed = [] if losses is None else as_losses(losses)
        self._losses_passed = [keras.saving.serialize_keras_object(x) for x in passed] or None

    def label_losses(
        self, labels: Labels, y_pred: Any, sample_weight: Any, share: Any, student_outputs: Any
    ) -> list[tuple[str, Any, Any]]:
        """Return the losses on the labels, also those of the exits; see `BaseDistiller`."""
        losses = super().label_losses(labels, y_pred, sample_weight, share, student_outputs)
        if student_outputs is None or not losses:
            return losses
        loss = functools.partial(self._label_masking.loss, self.compiled_loss_fn, labels)
        values = [
            loss(self._as_outputs(exits, student_outputs, y_pred), sample_weight, share, False)
            for exits in self._exits_by_tap()
        ]
        return [*losses, ("exit_loss", sum(values), self.exit_loss_weight)]

    def training_layers(self) -> list[tuple[str, keras.layers.Layer, str]]:
        """Return the projectors and the exits; see `KerasInterface`."""
        exits = [("early exit", layer, tap) for tap, layer in self.exits.items()]
        return [*super().training_layers(), *exits]

    def _exits_by_tap(self) -> list[dict[str, str]]:
        """Return for each tap the names of its exits, by output."""
        found = {}
        for name in self.exits:
            tap, output = split_exit(name, self.output_names)
            found.setdefault(tap, {})[output] = name
        return list(found.values())

    def _as_outputs(self, exits: Mapping[str, str], student_outputs: Any, y_pred: Any) -> Any:
        """Return the exits at a tap in the form of the student's outputs."""
        named = named_outputs(y_pred, self.output_names)
        made = {
            id(value): self._as_final_output(student_outputs[Tap(exits[name], True)], name)
            for name, value in named.items()
        }
        return tree.pack_sequence_as(y_pred, [made[id(value)] for value in tree.flatten(y_pred)])

    def _as_final_output(self, logits: Any, name: str) -> Any:
        """Return the output of an exit in the form of one of the student's outputs."""
        student, final = self.objective.student, final_tap(name, self.output_names)
        activation = student.activations.get(final)
        if student.kinds.get(final) == "probabilities":
            activation = ACTIVATIONS.get(self.objective.tasks.get(name), "softmax")
        if activation is not None:
            logits = keras.activations.get(activation)(logits)
        return from_channels_last(logits, student.channel_axes[final])

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
        names, exits = TappedModel(config["student"], []).output_names, {}
        for name, layer in config["exits"].items():
            tap, output = split_exit(name, names)
            exits.setdefault(tap, {})[output] = made(layer, custom_objects)
        if len(names) == 1:
            exits = {tap: layers[names[0]] for tap, layers in exits.items()}
        return cls(**{**config, "exits": exits})


def _objective(
    student: keras.Model, exits: dict[str, keras.layers.Layer], losses: Any, outputs: Declaration
) -> DistillationObjective:
    """Return the losses of the exits, whose targets are the student's outputs in the same pass."""
    teacher, names = Teacher(student, outputs=outputs), TappedModel(student, []).output_names
    losses = as_losses(losses, student, teacher)
    for loss in losses:
        loss.resolve_taps([student], [student])
    losses = [own for loss in losses for own in _at_each(loss, exits, names)]
    targets = tree.flatten([teacher_tap(loss) for loss in losses])
    finals = [final_tap(name, names) for name in names]
    tapped = functools.partial(ModelWithExits, exits, [*targets, *finals])
    return DistillationObjective(student, losses, teacher, outputs, tapped=tapped, during=True)


def _at_each(
    loss: DistillationLoss, exits: dict[str, Any], outputs: Sequence[str]
) -> list[DistillationLoss]:
    """Return a loss on logits once per exit of its output, and any other loss unchanged."""
    if not loss.on_logits:
        return [loss]
    if len(outputs) > 1 and loss.student_tap not in outputs:
        raise ValueError(
            f"DeepSupervision: the student has the outputs {list(outputs)}, so a loss on logits "
            f"must name one as its `student_tap`. Received: {type(loss).__name__} with "
            f"student_tap={loss.student_tap!r}"
        )
    copies = []
    for name in exits:
        tap, output = split_exit(name, outputs)
        if len(outputs) == 1 or output == loss.student_tap:
            copy = copy_loss(loss, student_tap=name, name=f"{plain_name(tap)}_{loss.name}")
            if len(outputs) > 1 and copy.teacher_tap is None:
                copy.teacher_tap = output
            copies.append(copy)
    return copies
