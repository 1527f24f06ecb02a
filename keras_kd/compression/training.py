"""Training of students during a compression, with `Distiller`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_kd.compression.callbacks import KeepBest, LogAtEpochEnd
from keras_kd.distillers.base import BaseDistiller
from keras_kd.distillers.default_losses import as_losses
from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.fit import list_callbacks
from keras_kd.distillers.loss_taps import choose_taps, student_tap
from keras_kd.files import ShortRepr
from keras_kd.models.declaration import Declaration
from keras_kd.teachers.knowledge import unpack_batch
from keras_kd.training.batches import (
    ArrayBatches,
    as_batches,
    as_samples_or_batches,
    count_batches,
    unpack_x_y,
)
from keras_kd.training.optimizers import copy_optimizer
from keras_kd.training.tf_data import is_dataset
from keras_kd.training.weight_rule import WeightRule


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
        same_view: As for `Distiller`. Defaults to `True`.
        validation_data: As for `keras.Model.fit`. Defaults to `None`.
        callbacks: Callbacks of keras; with `engine="tfmot"` also of tf_keras, which get the
            tf_keras model. Defaults to none.
        batch_size: Samples per batch if `data` contains arrays. Defaults to 32.
        steps_per_epoch: Steps per epoch, for a dataset of unknown length. Defaults to `None`.
        monitor: The entry of the history whose best epoch determines the weights, such as
            `"val_accuracy"`; `None` uses the last epoch. Defaults to `None`.
        verbose: As for `keras.Model.fit`. Defaults to `"auto"`.

    Raises:
        ValueError: If there is neither a teacher nor a loss, or a number is out of range.
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
    same_view: bool = True
    validation_data: Any = None
    callbacks: Any = ()
    batch_size: int = 32
    steps_per_epoch: int | None = None
    monitor: str | None = None
    verbose: str | int = "auto"
    terms: list = field(init=False)

    def __post_init__(self) -> None:
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

    def require_plain_weights(self) -> None:
        """Check that the optimizer does not replace the weights by their averages.

        Raises:
            ValueError: If it does: averages have other zeros and other values.
        """
        if isinstance(self.optimizer, keras.optimizers.Optimizer) and self.optimizer.use_ema:
            raise ValueError(
                "`optimizer` must not replace the weights by their moving averages, which have "
                "other zeros and other values. Received: an optimizer with use_ema=True"
            )

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

    def distill(
        self,
        student: keras.Model,
        rule: WeightRule | None = None,
        measure: Callable[[], dict[str, float]] = dict,
        ready: Callable[[], bool] = lambda: True,
    ) -> dict[str, list[float]]:
        """Train a student and return the history.

        Args:
            student: The student; its weights are changed.
            rule: What some weights obey after each update. Defaults to `None`.
            measure: Called at the end of each epoch; returns values for the history. Defaults to no
                values.
            ready: Returns whether an epoch counts for `monitor`. Defaults to always.

        Raises:
            TypeError: If a callback is not one of Keras 3.
        """
        arguments = self.distiller_arguments
        # The default for a student that has learned the labels already.
        arguments["losses"] = as_losses(arguments["losses"], student, self.teachers)
        distiller = Distiller(student, **arguments)
        distiller.weight_rule = rule
        self.compile(distiller)
        callbacks = list_callbacks(self.callbacks)
        wrong = [one for one in callbacks if not isinstance(one, keras.callbacks.Callback)]
        if wrong:
            raise TypeError(
                "`callbacks` must be callbacks of keras, or of tf_keras if the student runs in "
                f"tf_keras (engine='tfmot'). Received: {wrong[0]!r} (of type "
                f"{type(wrong[0]).__name__})"
            )
        return self.fit(distiller, student.variables, callbacks, measure, ready)

    @property
    def distiller_arguments(self) -> dict[str, Any]:
        """The arguments of a distiller, except the student."""
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

    def compile(self, distiller: BaseDistiller, **kwargs: Any) -> None:
        """Compile a distiller with a fresh optimizer."""
        metrics = list(self.metrics) if isinstance(self.metrics, tuple) else self.metrics
        optimizer = copy_optimizer(self.optimizer)
        distiller.compile(optimizer, self.loss, metrics=metrics or None, **kwargs)

    def fit(
        self,
        distiller: BaseDistiller,
        variables: Sequence[keras.Variable],
        callbacks: Sequence[keras.callbacks.Callback],
        measure: Callable[[], dict[str, float]] = dict,
        ready: Callable[[], bool] = lambda: True,
    ) -> dict[str, list[float]]:
        """Run the `fit` of a compiled distiller and return the history.

        Args:
            distiller: The distiller.
            variables: The weights of its student, of which those of the best epoch are kept.
            callbacks: Callbacks of Keras 3.
            measure: As for `distill`. Defaults to no values.
            ready: As for `distill`. Defaults to always.
        """
        best = [] if self.monitor is None else [KeepBest(variables, self.monitor, ready)]
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
            callbacks=[LogAtEpochEnd(measure), *best, *callbacks],
            # Keras would warn that it does not shuffle a data set.
            shuffle=not is_dataset(x),
            verbose=self.verbose,
        )
        return history.history
