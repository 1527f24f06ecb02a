"""Batches with NaN or infinite values: named, and raised or skipped before they change anything."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.training.distribution import replicas
from keras_kd.training.graph_errors import marked, readable_message

#: What to do with a bad batch.
ON_BAD_BATCH = ("raise", "skip")
#: What our sentences about values that are not finite have in common.
_NOT_FINITE = "NaN or infinite values"


def finite_assertions(named: dict[str, Any], together: bool = False) -> list[Any]:
    """Assertions that a batch is sound: what is to happen only then takes them as dependencies.

    Args:
        named: By sentence, what has to be finite for it not to be said: tensors in any structure.
        together: Whether one replica's bad part is a bad batch for all replicas. Defaults to
            `False`.

    Returns:
        The operations.
    """
    named = {sentence: _floating(values) for sentence, values in named.items()}
    named = {sentence: values for sentence, values in named.items() if values}
    fine = [_all_finite(values) for values in named.values()]
    if together and replicas() > 1 and fine:
        bad = tf.stack([tf.cast(~one, tf.float32) for one in fine])
        bad = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, bad)
        fine = tf.unstack(bad == 0)
    made = [tf.debugging.Assert(one, [marked(said)]) for one, said in zip(fine, named, strict=True)]
    return [op for op in made if op is not None]  # None where the step runs eagerly.


def batch_values(x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    """What has to be finite of a batch, for `checks`; a label may be NaN, which is none."""
    labels = [tf.where(tf.math.is_nan(part), tf.zeros_like(part), part) for part in _floating(y)]
    return {
        f"The batch has {_NOT_FINITE} in its inputs.": x,
        f"The batch has {_NOT_FINITE} in its labels.": labels,
        f"The batch has {_NOT_FINITE} in its sample weights.": sample_weight,
    }


def teacher_values(name: str, said: Any) -> dict[str, Any]:
    """What has to be finite of what a teacher said, for `checks`."""
    return {f"Teacher '{name}' gave {_NOT_FINITE}.": said}


class Batches(keras.callbacks.Callback):
    """Knows which batch is at work, so that errors can name it, and skips bad ones.

    Args:
        on_bad_batch: `"raise"` or `"skip"`; then the history has `skipped_batches`.
    """

    def __init__(self, on_bad_batch: str) -> None:
        super().__init__()
        self.skips = on_bad_batch == "skip"
        self.skipped = 0
        self._epoch = self._batch = self._done = 0
        self._step: Callable | None = None
        self._logs: dict[str, Any] = {}

    @property
    def at_work(self) -> str:
        """The batch in words, counted from 1 as in the progress bar."""
        return f"in batch {self._batch + 1} of epoch {self._epoch + 1}"

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Begins to count anew."""
        self._epoch, self._batch, self._done, self.skipped = epoch, 0, 0, 0
        self._logs = {}

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Notes which batch begins, and stands between Keras and the step."""
        self._batch = batch
        # Not once for all: `SelfDistiller` makes its step anew when its teacher begins to speak.
        if self.skips and self.model.train_function != self._past_bad_ones:
            self._step, self.model.train_function = self.model.train_function, self._past_bad_ones

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Counts it."""
        self._done += 1

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes into the history how many were skipped; refuses an epoch without a batch."""
        if self._done == self.skipped:
            raise ValueError(
                f"There was nothing to learn from in epoch {epoch + 1}: "
                + (f"all {self.skipped} batches were bad." if self.skipped else "no batch came.")
                + " The student's weights are as they were before it."
            )
        if self.skips and logs is not None:
            logs["skipped_batches"] = self.skipped

    def step_aside(self) -> None:
        """Gives the model its own step back, however the training ended."""
        if self._step is not None and self.model.train_function == self._past_bad_ones:
            self.model.train_function = self._step

    def _past_bad_ones(self, iterator: Any) -> dict[str, Any]:
        """A step; on a bad batch one that does nothing."""
        try:
            self._logs = self._step(iterator)
        except tf.errors.InvalidArgumentError as error:
            if _NOT_FINITE not in (readable_message(error) or ""):
                raise
            self.skipped += 1
        return self._logs


def _floating(structure: Any) -> list[Any]:
    found = [part for part in tree.flatten(structure) if tf.is_tensor(part)]
    found = [part.values if isinstance(part, tf.SparseTensor) else part for part in found]
    found = [part.flat_values if isinstance(part, tf.RaggedTensor) else part for part in found]
    return [part for part in found if part.dtype.is_floating]


def _all_finite(values: list[Any]) -> Any:
    fine = [tf.reduce_all(tf.math.is_finite(part)) for part in values]
    return fine[0] if len(fine) == 1 else tf.reduce_all(tf.stack(fine))
