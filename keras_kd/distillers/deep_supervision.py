"""Early exits that learn from the student's own final output, and are gone afterwards."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.early_exits import ExitedModel, Exits, exits_of
from keras_kd.distillers.objective import DistillationObjective, as_losses, teacher_tap
from keras_kd.losses import DistillationLoss
from keras_kd.models.graph import require_built
from keras_kd.models.random_state import seed_states
from keras_kd.models.taps import Tap
from keras_kd.teachers.knowledge import Knowledge
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.augmentation import Augmentation
from keras_kd.training.distribution import global_mean, replica_id, replica_share
from keras_kd.training.hyperparameters import Hyperparameter
from keras_kd.training.loss_trackers import LossTrackers, batch_size

_END = Tap(None, logits=True)


@keras.saving.register_keras_serializable(package="keras_kd")
class DeepSupervision(Distiller):
    """Trains a student with early exits, which its own final output teaches.

    At each of `exits`, hidden taps of the student, stands a small classifier. It learns from the
    labels and, in the same forward pass, from what the student says at its end, without gradient
    into the end. So the layers below get a second signal, at no second pass. The total loss is

        student_loss_weight · student_loss + Σ over exits of
            (exit_loss_weight · loss on the labels + Σ weight · distillation_loss) + regularisation

    The history holds `student_loss`, `exit_loss` (on the labels, the sum over the exits), the
    distillation losses of each exit as `TAP_NAME`, and the compiled metrics of the student. The
    exits are part of a checkpoint and not of the product, `student`, which is evaluated alone.

    Args:
        student: The model to train, built, with one output.
        exits: Hidden taps of the student (see `kd.taps`), or a dict from tap to a layer or model
            from there to logits. The usual exit is, from a map, a 3×3 convolution, the mean over
            the map and a dense layer; from a vector a dense layer; for a student that labels
            pixels a 1×1 convolution, resized.
        losses: As for `Distiller`: one on logits is taken at each exit; one between hidden taps,
            such as `kd.losses.Hint("last_map", "first_map")`, leads one of the student's layers to
            another. Defaults to `kd.losses.SoftTargets()`.
        student_loss_weight: Weight of the compiled loss at the end, a hyperparameter. Defaults to
            1.
        exit_loss_weight: Weight of the compiled loss at the exits, a hyperparameter. Defaults to
            0.5.
        student_outputs: As for `Distiller`.
        augment: As for `Distiller`.
        on_bad_batch: As for `Distiller`.
        name: Name of the model.

    Raises:
        TypeError: When an exit is no layer.
        ValueError: When a tap does not exist, an exit does not fit, or the student has several
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

    def __init__(
        self,
        student: keras.Model,
        exits: Exits,
        losses: str | DistillationLoss | Sequence[str | DistillationLoss] | None = None,
        student_loss_weight: float = 1.0,
        exit_loss_weight: float = 0.5,
        student_outputs: str = "auto",
        augment: Augmentation | Sequence[keras.layers.Layer] | None = None,
        on_bad_batch: str = "raise",
        name: str | None = None,
    ) -> None:
        require_built(student, "The student")
        made = exits_of(student, exits, student_outputs)
        # Past Keras, which has not set the model up yet.
        object.__setattr__(self, "_made", made)
        super().__init__(
            student,
            None,
            losses,
            student_loss_weight,
            student_outputs=student_outputs,
            augment=augment,
            on_bad_batch=on_bad_batch,
            name=name,
        )
        #: By tap: the exits, which a checkpoint holds.
        self.exits = dict(made)
        self.exit_loss_weight = exit_loss_weight
        self.seed_states = [*self.seed_states, *seed_states(list(made.values()))]
        self._losses_given = [keras.saving.serialize_keras_object(x) for x in as_losses(losses)]
        self._trackers = LossTrackers(["loss", "student_loss", "exit_loss", *self.objective.names])

    def make_objective(self, student: keras.Model, *arguments: Any) -> DistillationObjective:
        """What the exits learn from the end."""
        losses, _, outputs, *_ = arguments
        losses = [own for loss in as_losses(losses) for own in _at_each(loss, self._made)]
        asked = tree.flatten([teacher_tap(loss) for loss in losses])
        tapped = functools.partial(ExitedModel, self._made, [*asked, _END])
        teacher = Teacher(student, outputs=outputs)
        return DistillationObjective(student, losses, teacher, outputs, tapped=tapped)

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        """None but the student itself."""
        return ()

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
        knowledge: Any = None,
        student_outputs: Any = None,
    ) -> Any:
        """The total loss of a batch; see `Distiller.compute_loss`."""
        if student_outputs is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        (member,) = self.objective.ensemble.members
        teacher_outputs = {tap: ops.stop_gradient(student_outputs[tap]) for tap in member.shapes}
        knowledge = self.objective.teach(x, y, replica_id(), [teacher_outputs])
        total = super().compute_loss(
            x, y, y_pred, sample_weight, training, knowledge, student_outputs
        )
        if self._compile_loss is None:
            return total
        answers = [
            self._as_at_the_end(student_outputs[Tap(name, True)], y_pred) for name in self.exits
        ]
        share, average = replica_share(batch_size(x))
        loss = functools.partial(self._label_masking.loss, self._compile_loss, y)
        hard = sum(loss(answer, sample_weight, share) for answer in answers)
        labelled = self._label_masking.count(y, y_pred, average)
        self._trackers.update("exit_loss", global_mean(hard), labelled)
        return total + hard * ops.cast(self.exit_loss_weight, hard.dtype)

    def set_teachers(self, teachers: Any) -> None:
        """Refuses: the student teaches its exits.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "DeepSupervision has no teacher but the student. Use kd.Distiller(student, teachers)."
        )

    def _as_at_the_end(self, logits: Any, y_pred: Any) -> Any:
        """What an exit says, as the student says it: with its activation, in its structure."""
        activation = self.objective.student.activations.get(_END)
        if activation is not None:
            logits = keras.activations.get(activation)(logits)
        return tree.pack_sequence_as(y_pred, [logits])

    def _knowledge(self, *args: Any) -> Knowledge | None:
        return None  # It comes of the student's own pass.

    def _require_teachers(self, x: Any) -> None:
        pass  # It is there.

    def _shown(self, training: bool = True) -> list[str]:
        names = super()._shown(training)
        if training and "student_loss" in names:
            names.insert(names.index("student_loss") + 1, "exit_loss")
        return names

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        return {
            "student": serialize(self.student),
            "exits": {name: serialize(layer) for name, layer in self.exits.items()},
            "losses": self._losses_given,
            "student_loss_weight": float(self.student_loss_weight),
            "exit_loss_weight": float(self.exit_loss_weight),
            "student_outputs": self.student_outputs,
            "augment": serialize(self.augment),
            "on_bad_batch": self.on_bad_batch,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "DeepSupervision":
        """Makes what was saved."""
        made = keras.saving.deserialize_keras_object
        for name in ("student", "augment"):
            if config[name] is not None:
                config[name] = made(config[name], custom_objects)
        exits = {name: made(layer, custom_objects) for name, layer in config["exits"].items()}
        return cls(**{**config, "exits": exits})


def _at_each(loss: DistillationLoss, exits: dict[str, Any]) -> list[DistillationLoss]:
    """A loss on logits at each exit; any other as it is."""
    if not loss.on_logits:
        return [loss]
    config = loss.get_config()
    return [
        type(loss).from_config(
            {**config, "student_tap": name, "name": f"{name.replace('/', '_')}_{loss.name}"}
        )
        for name in exits
    ]
