"""Assign labels and sample weights to outputs, and check that labels are in range."""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_kd.models.keras_compat import is_loader
from keras_kd.models.task import CLASS_LOSSES, loss_name
from keras_kd.training import backend
from keras_kd.training.labels import (
    UNLABELED,
    LabelReader,
    OutputReader,
    per_output,
    replace_missing,
    row_axis,
)
from keras_kd.training.loaders import Loader
from keras_kd.training.tf_data import is_dataset

#: End of the message for a loss or metric that gets labels some of which are missing.
CANNOT_OMIT = (
    "gives one value for a {}, so it cannot omit the part without a label (kd.UNLABELED). "
    "Make it return one value per label."
)


def sample_weights(structure: Any, name: str | None, names: Sequence[str]) -> Any:
    """Return the sample weights for a loss at a tap.

    Args:
        structure: Sample weights of all outputs: a tensor, or a dict or list by output.
        name: Name of an output or of a hidden tap, or `None` for the single output.
        names: Names of the outputs.

    Returns:
        Tensor (batch, ...), or `None` if there are none. At a hidden tap beside several outputs
        with weights of their own, the mean over the outputs, (batch,); an output without weights
        counts as 1.

    Raises:
        ValueError: If there are weights for an output that does not exist.
    """
    if not isinstance(structure, (dict, list, tuple)):
        return structure if structure is None else ops.convert_to_tensor(structure)
    if len(structure) == 1:
        return sample_weights(tree.flatten(structure)[0], name, names)
    if name in names:
        return sample_weights(per_output(structure, name, names), name, names)
    unknown = set(structure).difference(names) if isinstance(structure, dict) else set()
    if unknown:
        raise ValueError(
            f"`sample_weight` must be given for the outputs {list(names)}. "
            f"Received: weights for {sorted(unknown)}"
        )
    given = [per_output(structure, output, names) for output in names]
    given = [_mean_per_sample(ops.convert_to_tensor(part)) for part in given if part is not None]
    if not given:
        return None
    total = functools.reduce(ops.add, given)
    return (total + (len(names) - len(given))) / len(names)


def require_class_axis(loss: Any, shapes: dict[str, Sequence], axes: dict[str, int]) -> None:
    """Reject a loss over the classes of an output that are on another axis than it reads.

    Args:
        loss: The loss as passed to `compile`, by output or for all.
        shapes: Shape of each output, by name.
        axes: The axis of the classes of each output, by name.

    Raises:
        ValueError: If the classes are not on the axis of the loss.
    """
    for name, axis in axes.items():
        own, rank = per_output(loss, name, list(axes)), len(shapes[name])
        kind = loss_name(own)
        if kind in CLASS_LOSSES and row_axis(own) % rank != axis:
            raise ValueError(
                f"The classes of the output '{name}' are on axis {axis} (channels_first), but its "
                f"loss computes over another. Received: {kind} with axis={row_axis(own)}. Pass "
                f"axis={axis} where the loss has that argument, with one-hot labels of the same "
                "layout, or end the model in keras.layers.Permute with the classes last."
            )


def _mean_per_sample(weights: Any) -> Any:
    axes = tuple(range(1, len(weights.shape)))
    return ops.mean(weights, axis=axes) if axes else weights


def check_labels(x: Any, y: Any, reader: LabelReader) -> Any:
    """Reject class indices out of range: in arrays at once, in other data as batches are read.

    Args:
        x: As for `keras.Model.fit`.
        y: Labels, if `x` holds arrays.
        reader: The reader of the labels.

    Returns:
        `x`, or the same data with a check of each batch.

    Raises:
        ValueError: If a label in an array is out of range.
    """
    ranges = [_Range(one) for one in reader.outputs.values() if one.classes is not None]
    if not ranges:
        return x
    # Inside a generator the error becomes one of a graph, where the mark finds the message.
    check = functools.partial(_check_arrays, ranges, reader.names, backend.marked)
    if is_dataset(x) and isinstance(x.element_spec, tuple) and len(x.element_spec) > 1:
        return x.map(lambda *batch: _check_tensors(ranges, reader.names, batch)).prefetch(-1)
    loader = Loader.of(x) if is_loader(x) else x
    if isinstance(loader, Loader):
        return loader.map(lambda batch: _checked(batch, check))
    if isinstance(x, keras.utils.PyDataset):
        return _CheckedDataset(x, check)
    if isinstance(x, types.GeneratorType):
        return (_checked(batch, check) for batch in x)
    _check_arrays(ranges, reader.names, str, (x, y))
    return x


class _Range:
    """The valid labels of an output that is trained on class indices."""

    def __init__(self, reader: OutputReader) -> None:
        self.name = reader.name
        self.classes = reader.classes
        self.ignored = reader.ignore_class

    def find_outside(self, labels: Any) -> Any:
        """Return which class indices are out of range."""
        outside = ((labels < 0) | (labels >= self.classes)) & (labels != UNLABELED)
        return outside if self.ignored is None else outside & (labels != self.ignored)

    def message(self, least: Any, greatest: Any) -> str:
        """Return the message for labels out of range."""
        return (
            f"Labels out of range: the student's output '{self.name}' has {self.classes} classes, "
            f"so the labels must be integers from 0 to {self.classes - 1} (or kd.UNLABELED, "
            f"{UNLABELED}, for none). Received labels from {least} to {greatest}."
        )


class _CheckedDataset(keras.utils.PyDataset):
    """A `PyDataset` whose batches are checked as they are read."""

    def __init__(self, dataset: keras.utils.PyDataset, check: Callable[[Any], None]) -> None:
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self._dataset, self._check = dataset, check

    @property
    def num_batches(self) -> int | None:
        return self._dataset.num_batches

    def __getitem__(self, index: int) -> Any:
        batch = self._dataset[index]
        self._check(batch)
        return batch

    def on_epoch_begin(self) -> None:
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._dataset.on_epoch_end()


def _checked(batch: Any, check: Callable[[Any], None]) -> Any:
    check(batch)
    return batch


def _check_arrays(
    ranges: Sequence[_Range], names: Sequence[str], phrase: Callable[[str], str], batch: Any
) -> None:
    """Reject a batch (x, y) or (x, y, sample_weight) of arrays with labels out of range."""
    y = keras.utils.unpack_x_y_sample_weight(batch)[1]
    for one in ranges:
        labels = per_output(y, one.name, names)
        if labels is not None:
            labels = replace_missing(ops.convert_to_tensor(labels), UNLABELED)
            values = ops.convert_to_numpy(labels).astype("int64")
            if one.find_outside(values).any():
                raise ValueError(phrase(one.message(values.min(), values.max())))


def _check_tensors(ranges: Sequence[_Range], names: Sequence[str], batch: tuple) -> tuple:
    """Return a batch of tensors that exists only if its labels are in range."""
    import tensorflow as tf

    from keras_kd.training.graph_errors import marked

    checks = []
    for one in ranges:
        labels = per_output(batch[1], one.name, names)
        if labels is not None:
            labels = tf.cast(replace_missing(labels, UNLABELED), tf.int64)
            fine = tf.logical_not(tf.reduce_any(one.find_outside(labels)))
            sentence = marked(one.message("{}", "{}"))
            least, greatest = tf.reduce_min(labels), tf.reduce_max(labels)
            checks.append(
                tf.debugging.Assert(fine, [tf.strings.format(sentence, (least, greatest))])
            )
    with tf.control_dependencies(checks):
        return tree.map_structure(tf.identity, batch)
