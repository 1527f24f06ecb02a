"""A student that is taught by its own earlier weights."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.fit import fit_arguments, list_callbacks
from keras_kd.losses import DistillationLoss
from keras_kd.models.copy import copy_model
from keras_kd.models.graph import require_built
from keras_kd.teachers.knowledge import Knowledge
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.augmentation import Augmentation

#: Before the first snapshot.
_NEVER = -1


@keras.saving.register_keras_serializable(package="keras_kd")
class SelfDistiller(Distiller):
    """Trains a student without a teacher: a copy of its earlier weights teaches it.

    A `Distiller` whose teacher is the student's earlier self, so losses, taps, unlabelled samples
    and `augment` are as they are there. There are two forms:

    - **Late snapshot** (`decay=None`): at the beginning of epoch `start` the student's weights are
      copied, and the copy teaches from then on, with `every=n` a new copy each n epochs. Before
      `start` no teacher runs, and the history shows 0 for the distillation losses.
    - **Running average** (`decay` such as 0.99): after each step t the teacher's weights become
      d · teacher + (1 − d) · student with d = min(decay, t / (t + 1)): the plain mean of all the
      student's weights so far until that is shorter-lived than the exponential one. It includes
      the statistics of batch normalisation. It teaches from epoch `start` on.

    The copy is part of the run's state, so checkpoints hold it: a run that is killed and resumed
    gives the weights of the run that was not. The product, `student`, has nothing of it.

    Args:
        student: The model to train, built; subclassed with a `get_config` of its arguments.
        losses: As for `Distiller`. Defaults to `kd.losses.SoftTargets()`.
        student_loss_weight: Weight of the compiled loss, a hyperparameter. Defaults to 1, so that
            training is plain until the teacher speaks.
        decay: Of the running average, between 0 and 1; `None` for snapshots. Defaults to `None`.
        start: The epoch (from 0) from which on the teacher speaks; at least 1 for snapshots.
            Defaults to 0.
        every: Epochs after which a snapshot is taken anew; `None` for a single one. Defaults to
            `None`.
        noise: As for `Distiller`.
        student_outputs: As for `Distiller`.
        augment: As for `Distiller`: with it, the teacher sees the clean batch and the student an
            augmented one, which makes the running average a mean teacher.
        same_view: As for `Distiller`.
        on_bad_batch: As for `Distiller`.
        name: Name of the model.

    Raises:
        ValueError: When `decay`, `start` or `every` is out of range, or the student cannot be
            copied; otherwise as `Distiller`.

    Example:
        >>> distiller = kd.SelfDistiller(student, start=40)  # of 60 epochs
        >>> distiller.compile("adam", loss="sparse_categorical_crossentropy")
        >>> distiller.fit(train, epochs=60)

    Reference:
        Yang et al. 2019, arXiv:1812.00123 (snapshots); Tarvainen and Valpola 2017, arXiv:1703.01780
        (the running average, "mean teacher").
    """

    def __init__(
        self,
        student: keras.Model,
        losses: str | DistillationLoss | Sequence[str | DistillationLoss] | None = None,
        student_loss_weight: float = 1.0,
        decay: float | None = None,
        start: int = 0,
        every: int | None = None,
        noise: LogitNoise | None = None,
        student_outputs: str = "auto",
        augment: Augmentation | Sequence[keras.layers.Layer] | None = None,
        same_view: bool = False,
        on_bad_batch: str = "raise",
        name: str | None = None,
    ) -> None:
        _check(decay, start, every)
        require_built(student, "The student")
        copy = copy_model(student)
        copy.trainable = False
        super().__init__(
            student,
            Teacher(copy, outputs=student_outputs, name=f"{student.name} (earlier)"),
            losses,
            student_loss_weight,
            noise=noise,
            student_outputs=student_outputs,
            augment=augment,
            same_view=same_view,
            on_bad_batch=on_bad_batch,
            name=name,
        )
        self.decay = decay
        self.start = start
        self.every = every
        # The weights and not the model: its regularisation is none of this model's.
        self._earlier_weights = list(copy.weights)
        self._snapshot_epoch = _counter(_NEVER, "snapshot_epoch")
        self._averaged_steps = _counter(0, "averaged_steps")
        self._teaching = start == 0

    @property
    def earlier_self(self) -> keras.Model:
        """The student's earlier self: the last snapshot, or the running average, a model too."""
        return self.teachers[0].model

    def set_teachers(self, teachers: Any) -> None:
        """Refuses: the teacher is the student itself.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "SelfDistiller teaches itself. Use kd.Distiller(student, teachers) for other teachers."
        )

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains the student; takes what `keras.Model.fit` takes."""
        given = fit_arguments(*args, **kwargs)
        callbacks = [_Epochs(self), *list_callbacks(given.pop("callbacks", None))]
        return super().fit(**given, callbacks=callbacks)

    def train_step(self, data: Any) -> dict[str, Any]:
        """A step of `Distiller`, and then one of the running average."""
        logs = super().train_step(data)
        if self.decay is not None:
            self._average()
        return logs

    def begin_epoch(self, epoch: int) -> None:
        """Takes a snapshot if one is due, and lets the teacher speak or not.

        `fit` calls it.

        Args:
            epoch: The epoch that begins, from 0.
        """
        if self.decay is None:
            if self._taken() > epoch:
                self._snapshot_epoch.assign(_NEVER)  # Another `fit` began.
            since = epoch - self.start
            due = self.start + (since - since % self.every if self.every else 0)
            if self._taken() < due <= epoch:
                self._take_snapshot()
                self._snapshot_epoch.assign(due)
        teaching = epoch >= self.start
        if teaching != self._teaching:
            self._teaching = teaching
            self.make_train_function(force=True)  # The compiled step has the teacher in it or not.

    def _knowledge(self, *args: Any) -> Knowledge | None:
        return super()._knowledge(*args) if self._teaching else None

    def _taken(self) -> int:
        """The epoch whose snapshot the earlier self is."""
        return int(ops.convert_to_numpy(self._snapshot_epoch))  # `int` knows no mirrored variable.

    def _take_snapshot(self) -> None:
        for earlier, weight in zip(self._earlier_weights, self.student.weights, strict=True):
            earlier.assign(weight)

    def _average(self) -> None:
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
        """The arguments of the constructor."""
        config = super().get_config()
        for name in ("weighting", "combine", "class_names", "teacher_shapes"):
            config.pop(name)
        return {**config, "decay": self.decay, "start": self.start, "every": self.every}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SelfDistiller":
        """Makes the distiller that was saved."""
        for name in ("student", "noise", "augment"):
            if config[name] is not None:
                config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        return cls(**config)


class _Epochs(keras.callbacks.Callback):
    """Tells the distiller of each epoch that begins."""

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
            "SelfDistiller: `start` is the epoch from which on the earlier self teaches, for "
            "snapshots (decay=None) at least 1, since before there is nothing to learn from. "
            f"Received: start={start}"
        )
    if every is not None and (decay is not None or every != int(every) or every < 1):
        raise ValueError(
            "SelfDistiller: `every` is a number of epochs between two snapshots (decay=None), at "
            f"least 1. Received: every={every}, decay={decay}"
        )
