"""Self-distillation: the teacher is a copy of the student's earlier weights."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.distillers.base import BaseDistiller
from keras_kd.distillers.default_losses import as_losses
from keras_kd.distillers.distillation_objective import DistillationObjective
from keras_kd.distillers.fit import fit_arguments, list_callbacks
from keras_kd.losses import DistillationLoss
from keras_kd.models.copy import copy_model
from keras_kd.models.declaration import Declaration
from keras_kd.models.graph import require_built
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.augmentation import Augmentation
from keras_kd.training.keywords import explain_keywords

#: The epoch of the snapshot before there is one.
_NEVER = -1


@keras.saving.register_keras_serializable(package="keras_kd")
class SelfDistiller(BaseDistiller):
    """Train a student without a separate teacher: a copy of its earlier weights is the teacher.

    Losses, taps, unlabeled samples and `augment` work as in `Distiller`. There are two forms:

    - **Late snapshot** (`decay=None`): at the beginning of epoch `start` the student's weights are
      copied, and the copy teaches from then on; with `every=n` the copy is renewed every n epochs.
      Before `start` no teacher runs, and the history shows 0 for the distillation losses.
    - **Running average** (`decay` such as 0.99): after each step t the teacher's weights become
      d · teacher + (1 − d) · student with d = min(decay, t / (t + 1)): the plain mean of all the
      student's weights so far until the exponential average has the shorter memory. It includes the
      statistics of batch normalization. It teaches from epoch `start` on.

    The copy is part of the state of the run, so checkpoints hold it: a run that is killed and
    resumed gives the weights of the uninterrupted run. `student`, the product, does not hold it.

    Args:
        student: The model to train, built; if subclassed, with a `get_config` of its arguments.
        losses: As for `Distiller`. Defaults to `None`, by the task.
        student_loss_weight: Weight of the compiled loss, a hyperparameter. Defaults to `1.0`, so
            that training is plain until the teacher teaches.
        decay: Decay of the running average, between 0 and 1; `None` for snapshots. Defaults to
            `None`.
        start: The epoch (from 0) from which the teacher teaches; at least 1 for snapshots. Defaults
            to `0`.
        every: Number of epochs after which the snapshot is renewed; `None` for a single one.
            Defaults to `None`.
        noise: As for `Distiller`.
        student_outputs: As for `Distiller`.
        augment: As for `Distiller`: the teacher gets the original batch and the student an
            augmented one, which makes the running average a mean teacher.
        same_view: Whether the teacher gets the augmented batch too. Defaults to `False`: to agree
            on two views is what a mean teacher teaches.
        on_bad_batch: As for `Distiller`.
        name: Name of the model. Defaults to `None`.

    Raises:
        ValueError: If `decay`, `start` or `every` is out of range, or the student cannot be
            copied; otherwise as `Distiller`.

    Example:
        >>> distiller = kd.SelfDistiller(student, start=40)  # of 60 epochs
        >>> distiller.compile("adam", loss="sparse_categorical_crossentropy")
        >>> distiller.fit(train, epochs=60)

    Reference:
        Yang et al. 2019, arXiv:1812.00123 (snapshots); Tarvainen and Valpola 2017, arXiv:1703.01780
        (the running average, "mean teacher").
    """

    @explain_keywords()
    def __init__(
        self,
        student: keras.Model,
        losses: str | DistillationLoss | Sequence[str | DistillationLoss] | None = None,
        student_loss_weight: float = 1.0,
        decay: float | None = None,
        start: int = 0,
        every: int | None = None,
        noise: LogitNoise | None = None,
        student_outputs: Declaration = "auto",
        augment: Augmentation | Sequence[keras.layers.Layer] | None = None,
        same_view: bool = False,
        on_bad_batch: str = "raise",
        name: str | None = None,
    ) -> None:
        _check(decay, start, every)
        require_built(student, "The student")
        copy = copy_model(student)
        copy.trainable = False
        teacher = Teacher(copy, outputs=student_outputs, name=f"{student.name} (earlier)")
        losses = as_losses(losses, student, teacher)
        for loss in losses:
            loss.resolve_taps([student], [student])
        objective = DistillationObjective(student, losses, teacher, student_outputs, noise=noise)
        objective.active = start == 0
        super().__init__(
            student,
            objective,
            student_loss_weight,
            augment=augment,
            same_view=same_view,
            on_bad_batch=on_bad_batch,
            name=name,
        )
        self.decay = decay
        self.start = start
        self.every = every
        # The weights and not the model: its regularization is not part of this model.
        self._earlier_weights = list(copy.weights)
        self._snapshot_epoch = _counter(_NEVER, "snapshot_epoch")
        self._averaged_steps = _counter(0, "averaged_steps")

    @property
    def earlier_self(self) -> keras.Model:
        """The teacher: the last snapshot, or the running average, a model too."""
        return self.teachers[0].model

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train the student; accepts the arguments of `keras.Model.fit`.

        Raises:
            ValueError: If there is neither a compiled loss nor a teacher in the first epoch;
                otherwise as `Distiller.fit`.
        """
        given = fit_arguments(*args, **kwargs)
        first = given.get("initial_epoch", 0)
        if self.compiled and self.compiled_loss_fn is None and first < self.start:
            raise ValueError(
                f"SelfDistiller: the earlier weights teach from epoch start={self.start} on, so "
                "the epochs before need a loss on labels. Pass `loss` to `compile`, or a running "
                f"average from the beginning: decay=0.99. Received: loss=None, epoch {first}"
            )
        callbacks = [_Epochs(self), *list_callbacks(given.pop("callbacks", None))]
        return super().fit(**given, callbacks=callbacks)

    def commit(self, *args: Any) -> dict[str, Any]:
        """Commit a step, then update the running average; see `BaseDistiller`."""
        logs = super().commit(*args)
        if self.decay is not None:
            self._update_average()
        return logs

    def begin_epoch(self, epoch: int) -> None:
        """Take a snapshot if one is due, and turn the teacher on or off; called by `fit`.

        Args:
            epoch: The epoch that begins, from 0.
        """
        if self.decay is None:
            if self._last_snapshot() > epoch:
                self._snapshot_epoch.assign(_NEVER)  # Another `fit` began.
            since = epoch - self.start
            due = self.start + (since - since % self.every if self.every else 0)
            if self._last_snapshot() < due <= epoch:
                self._take_snapshot()
                self._snapshot_epoch.assign(due)
        active = epoch >= self.start
        if active != self.objective.active:
            self.objective.active = active
            self.make_train_function(force=True)  # The compiled step runs the teacher or does not.
            self.test_function = None

    def _last_snapshot(self) -> int:
        """Return the epoch of the last snapshot."""
        return int(ops.convert_to_numpy(self._snapshot_epoch))  # `int` fails on mirrored variables.

    def _take_snapshot(self) -> None:
        for earlier, weight in zip(self._earlier_weights, self.student.weights, strict=True):
            earlier.assign(weight)

    def _update_average(self) -> None:
        self._averaged_steps.assign_add(1)
        steps = ops.cast(self._averaged_steps, "float32")
        decay = ops.minimum(ops.cast(self.decay, "float32"), steps / (steps + 1))
        for earlier, weight in zip(self._earlier_weights, self.student.weights, strict=True):
            if "float" in keras.backend.standardize_dtype(weight.dtype):
                share = ops.cast(1 - decay, weight.dtype)
                earlier.assign_add(share * (ops.convert_to_tensor(weight) - earlier))
            else:
                earlier.assign(weight)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        objective, serialize = self.objective, keras.saving.serialize_keras_object
        return {
            "student": serialize(self.student),
            "losses": [serialize(loss) for loss in self.distillation_losses],
            "student_loss_weight": float(self.student_loss_weight),
            "noise": serialize(objective.noise),
            "student_outputs": objective.student_outputs,
            "augment": serialize(self.augment),
            "same_view": self.same_view,
            "on_bad_batch": self.on_bad_batch,
            "name": self.name,
            "decay": self.decay,
            "start": self.start,
            "every": self.every,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SelfDistiller":
        """Create the distiller that was saved."""
        for name in ("student", "noise", "augment"):
            if config[name] is not None:
                config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        return cls(**config)


class _Epochs(keras.callbacks.Callback):
    """Report each epoch that begins to the distiller."""

    def __init__(self, distiller: SelfDistiller) -> None:
        super().__init__()
        self.distiller = distiller

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.distiller.begin_epoch(epoch)


def _counter(value: int, name: str) -> keras.Variable:
    return keras.Variable(
        value, dtype="int32", trainable=False, aggregation="only_first_replica", name=name
    )


def _check(decay: float | None, start: int, every: int | None) -> None:
    if decay is not None and not 0 <= decay < 1:
        raise ValueError(
            "SelfDistiller: `decay` must be at least 0 and below 1, such as 0.99, or None for "
            f"snapshots. Received: decay={decay}"
        )
    least = 1 if decay is None else 0
    if start != int(start) or start < least:
        raise ValueError(
            "SelfDistiller: `start`, the epoch from which the earlier weights teach, must be a "
            "whole number, and at least 1 for snapshots (decay=None), which need weights to copy. "
            f"Received: start={start}"
        )
    if every is not None and (decay is not None or every != int(every) or every < 1):
        raise ValueError(
            "SelfDistiller: `every` must be a number of epochs between two snapshots (decay=None), "
            f"at least 1. Received: every={every}, decay={decay}"
        )
