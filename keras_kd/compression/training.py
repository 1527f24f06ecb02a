"""Training of students during a compression, with `Distiller`."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_kd.compression.callbacks import KeepBest, LogAtEpochEnd
from keras_kd.compression.tfmot.callbacks import adapt_callbacks
from keras_kd.compression.tfmot.taps import TfKerasTappedModel
from keras_kd.compression.tfmot.wrapper import WrappedModel
from keras_kd.distillers.base import BaseDistiller
from keras_kd.distillers.default_losses import as_losses
from keras_kd.distillers.distillation_objective import DistillationObjective
from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.loss_taps import choose_taps, student_tap
from keras_kd.files import ShortRepr
from keras_kd.models.declaration import Declaration
from keras_kd.teachers.knowledge import unpack_batch
from keras_kd.training import backend
from keras_kd.training.batches import (
    ArrayBatches,
    as_batches,
    as_samples_or_batches,
    count_batches,
    unpack_x_y,
)
from keras_kd.training.optimizers import copy_optimizer


@dataclass(frozen=True, kw_only=True, repr=False)
class Training(ShortRepr):
    """How a compressed student is trained: the arguments that all techniques share.

    Args:
        data: As for `Distiller.fit`: a `tf.data.Dataset` or a `keras.utils.PyDataset` of (x, y) or
            (x, y, sample_weight) batches, a list of them, a tuple of such arrays, or x alone if no
            labels are used.
        epochs: Number of epochs.
        optimizer: A name or a `keras.optimizers.Optimizer`, which is copied. Defaults to `"adam"`.
        loss: The loss on the labels, as for `keras.Model.compile`; `None` uses no labels. Defaults
            to `None`.
        metrics: As for `keras.Model.compile`. Defaults to none.
        teachers: As for `Distiller`; `None` trains without a teacher. Defaults to `None`.
        losses: As for `Distiller`. Defaults to soft targets if there are teachers.
        student_loss_weight: Weight of the loss on the labels. Defaults to 0.5 with teachers, 1
            without.
        weighting: As for `Distiller`. Defaults to `None`.
        noise: As for `Distiller`. Defaults to `None`.
        combine: As for `Distiller`. Defaults to `"losses"`.
        class_names: As for `Distiller`. Defaults to `None`.
        student_outputs: As for `Distiller`. Defaults to `"auto"`.
        augment: As for `Distiller`. Defaults to `None`.
        same_view: As for `Distiller`. Defaults to `False`.
        validation_data: As for `keras.Model.fit`. Defaults to `None`.
        callbacks: Callbacks of keras, or of tf_keras, which get the tf_keras model. Defaults to
            none.
        batch_size: Samples per batch if `data` contains arrays. Defaults to 32.
        steps_per_epoch: Steps per epoch, for a dataset of unknown length. Defaults to `None`.
        monitor: The entry of the history whose best epoch determines the weights, such as
            `"val_accuracy"`; `None` uses the last epoch. Defaults to `None`.
        verbose: As for `keras.Model.fit`. Defaults to `"auto"`.

    Raises:
        ValueError: If there is neither a teacher nor a loss, a number is out of range, or the
            backend is not TensorFlow.
        TypeError: If the optimizer is not a Keras 3 optimizer.
    """

    data: Any
    epochs: int
    optimizer: str | keras.optimizers.Optimizer = "adam"
    loss: Any = None
    metrics: Any = ()
    teachers: Any = None
    losses: Any = None
    student_loss_weight: float | None = None
    weighting: Any = None
    noise: Any = None
    combine: str = "losses"
    class_names: Sequence[str] | None = None
    student_outputs: Declaration = "auto"
    augment: Any = None
    same_view: bool = False
    validation_data: Any = None
    callbacks: Any = ()
    batch_size: int = 32
    steps_per_epoch: int | None = None
    monitor: str | None = None
    verbose: str | int = "auto"
    terms: list = field(init=False)

    def __post_init__(self) -> None:
        backend.require_tensorflow("Students are compressed with tf_keras", "kd.compression")
        distills = self.teachers is not None
        object.__setattr__(self, "terms", as_losses(self.losses) if distills else [])
        if isinstance(self.data, list) and all(isinstance(part, tuple) for part in self.data):
            object.__setattr__(self, "data", as_samples_or_batches(self.data, "`data`"))
        if not distills and (self.losses is not None or self.loss is None):
            raise ValueError(
                "There is nothing to train on: pass `teachers`, a `loss` on the labels, or both. "
                f"Received: teachers=None, loss={self.loss!r}, losses={self.losses!r}"
            )
        counts = (self.epochs, self.batch_size, self.steps_per_epoch)
        if any(count is not None and count < 1 for count in counts):
            raise ValueError(
                "`epochs`, `batch_size` and `steps_per_epoch` must be at least 1. Received: epochs="
                f"{self.epochs}, batch_size={self.batch_size}, "
                f"steps_per_epoch={self.steps_per_epoch}"
            )
        if not isinstance(self.optimizer, (str, keras.optimizers.Optimizer)):
            raise TypeError(
                "`optimizer` must be a name or a keras.optimizers.Optimizer (of Keras 3, not "
                f"tf_keras). Received: {self.optimizer!r} (of type "
                f"{type(self.optimizer).__name__})"
            )

    def student_taps(self, student: keras.Model) -> list[str]:
        """Return the names of the student's hidden taps."""
        choose_taps(self.terms, self.teachers, student)
        taps = keras.tree.flatten([student_tap(loss) for loss in self.terms])
        return [tap.name for tap in taps if tap.name is not None]

    @property
    def steps(self) -> int:
        """Number of steps of all epochs.

        Raises:
            ValueError: If the length of the dataset is unknown.
        """
        if self.steps_per_epoch is not None:
            return self.epochs * self.steps_per_epoch
        count = count_batches(self._batches())
        if not count:
            raise ValueError(
                "The number of batches of the dataset is unknown, and the pruning schedule depends "
                "on it. Pass `steps_per_epoch`, or use "
                "`data.apply(tf.data.experimental.assert_cardinality(...))`. "
                f"Received: {type(self.data).__name__}"
            )
        return self.epochs * count

    def sample_batches(self, count: int) -> Iterator[Any]:
        """Yield the x of the first batches, until they contain at least `count` samples."""
        seen = 0
        for batch in self._batches(again=True):
            x = unpack_batch(unpack_x_y(batch)[0])[0]
            yield x
            seen += len(keras.tree.flatten(x)[0])
            if seen >= count:
                return

    def _batches(self, again: bool = False) -> Iterable[Any]:
        """Return the batches of `data`; `again` if they are read before the training too."""
        # `fit` reads a list as several inputs.
        data = (self.data,) if isinstance(self.data, list) else self.data
        return as_batches(data, "`data`", self.batch_size, again=again)

    def fit(
        self,
        wrapped: WrappedModel,
        measure: Callable[[], dict[str, float]] = dict,
        ready: Callable[[], bool] = lambda: True,
    ) -> dict[str, list[float]]:
        """Train a student that runs in tf_keras and return the history.

        Args:
            wrapped: The student; its weights are changed.
            measure: Called at the end of each epoch; returns values for the history.
            ready: Returns whether an epoch counts for `monitor`.
        """
        distiller = _distiller_in_tf_keras(wrapped, **self._distiller_arguments)
        # XLA does not support the operations of tensorflow-model-optimization in a step.
        self._compile(distiller, jit_compile=False)
        best = self._keep_best(wrapped.layer.variables, ready)
        adapted = adapt_callbacks(self.callbacks, wrapped.layer.tf_keras_model)
        return self._fit(distiller, [LogAtEpochEnd(measure), *best, *adapted])

    def distill(self, student: keras.Model) -> dict[str, list[float]]:
        """Train a Keras 3 student without compressing it and return the history.

        Args:
            student: The student; its weights are changed.
        """
        distiller = Distiller(student, **self._distiller_arguments)
        self._compile(distiller)
        best = self._keep_best(student.variables)
        return self._fit(distiller, [*best, *adapt_callbacks(self.callbacks)])

    @property
    def _distiller_arguments(self) -> dict[str, Any]:
        weight = self.student_loss_weight
        if weight is None:
            weight = 0.5 if self.terms else 1.0
        same = ("weighting", "noise", "combine", "class_names", "student_outputs")
        return {
            "teachers": self.teachers,
            "losses": None if self.terms and self.losses is None else self.terms,
            "student_loss_weight": weight,
            **{name: getattr(self, name) for name in (*same, "augment", "same_view")},
        }

    def _compile(self, distiller: BaseDistiller, **kwargs: Any) -> None:
        metrics = list(self.metrics) if isinstance(self.metrics, tuple) else self.metrics
        optimizer = copy_optimizer(self.optimizer)
        distiller.compile(optimizer, self.loss, metrics=metrics or None, **kwargs)

    def _keep_best(
        self, variables: Sequence[keras.Variable], ready: Callable[[], bool] = lambda: True
    ) -> list[keras.callbacks.Callback]:
        return [] if self.monitor is None else [KeepBest(variables, self.monitor, ready)]

    def _fit(
        self, distiller: BaseDistiller, callbacks: Sequence[keras.callbacks.Callback]
    ) -> dict[str, list[float]]:
        arrays = isinstance(self._batches(), ArrayBatches)
        parts = self.data if isinstance(self.data, tuple) else (self.data,)
        x, y, weights = keras.utils.unpack_x_y_sample_weight(parts)
        history = distiller.fit(
            x,
            y,
            self.batch_size if arrays else None,
            sample_weight=weights,
            epochs=self.epochs,
            steps_per_epoch=self.steps_per_epoch,
            validation_data=self.validation_data,
            callbacks=list(callbacks),
            verbose=self.verbose,
        )
        return history.history


def _distiller_in_tf_keras(
    wrapped: WrappedModel,
    student_loss_weight: float,
    augment: Any,
    same_view: bool,
    **objective: Any,
) -> BaseDistiller:
    """Return a distiller whose student runs in tf_keras, with the taps of the Keras 3 student."""
    tapped = functools.partial(TfKerasTappedModel, wrapped)
    terms = DistillationObjective(wrapped.origin, **objective, tapped=tapped)
    return BaseDistiller(
        wrapped.model, terms, student_loss_weight, augment=augment, same_view=same_view
    )
