"""The labels of a batch, read once per step: class indices, and which labels are missing.

What counts as missing is decided once per output, when a `LabelReader` is made:

- NaN, everywhere. A row of NaN is a sample without a label. A row that is NaN in part lacks only
  these elements, if the loss is a mean over the elements (see `PER_ELEMENT`); for any other loss
  the rest is a label with NaN in it, a bad batch.
- `UNLABELED`, -1, where it cannot be a label: as a class index, and in labels that a loss of
  Keras takes for probabilities, such as a cross-entropy. It is a number for a regression, and for
  a loss that is not one of Keras's, unless the labels are integers and the task is known.
- `ignore_class` of `SparseCategoricalCrossentropy`.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.models.task import loss_name, task_from_loss
from keras_kd.training.label_shapes import OF_INDICES, require_label_shape
from keras_kd.training.tf_data import dense_spec

#: The class index of a sample without a label.
UNLABELED = -1

#: Losses between probabilities.
_PROBABILITIES = (
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "KLDivergence",
)
#: Losses (and metrics) that are the mean of a value of each element of a row.
PER_ELEMENT = (
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "Hinge",
    "Huber",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SquaredHinge",
)
#: What Keras calls the cross-entropy that fits the shape of the labels.
_ANY_CROSSENTROPY = ("crossentropy", "ce")


@dataclass(frozen=True)
class OutputLabels:
    """The labels of one output in a batch.

    Attributes:
        given: The labels as they were passed, `UNLABELED` where they are the class that the loss
            ignores.
        filled: The labels, with a valid number where one is missing.
        known: Boolean tensor, false where a label is missing: (batch, ...), or (batch, ..., units)
            if `per_element`. `None` if no label can be missing.
        per_element: Whether the labels are rows, and the loss is the mean of a value of each of
            their elements, so that a single one may be missing. Defaults to `False`.
    """

    given: Any
    filled: Any
    known: Any = None
    per_element: bool = False

    @functools.cached_property
    def mask(self) -> Any:
        """`known` as floats: 1 for a label."""
        return mask_weights(self.known)

    @functools.cached_property
    def total(self) -> Any:
        """Number of known labels, or elements."""
        return ops.sum(self.mask)

    @functools.cached_property
    def count(self) -> Any:
        """Number of labeled samples; a sample that is labeled in part counts as a fraction."""
        places = ops.shape(self.known)[1:]
        size = math.prod(places) if places else 1
        return self.total if isinstance(size, int) and size == 1 else self.total / size


@dataclass(frozen=True)
class Labels:
    """The labels of a batch.

    Attributes:
        given: The structure of labels that was passed, see `OutputLabels.given`.
        outputs: The labels of each output that has some, by name.
    """

    given: Any
    outputs: dict[str, OutputLabels]

    def count(self, size: Any) -> Any:
        """Return the number of labeled samples, the mean over the outputs.

        Args:
            size: Number of samples in the batch.
        """
        counts = [size if one.known is None else one.count for one in self.outputs.values()]
        if all(one is size for one in counts):
            return size
        return functools.reduce(ops.add, counts) / len(counts) if len(counts) > 1 else counts[0]


class LabelReader:
    """Read the labels of all outputs; `compile` makes it.

    Args:
        loss: The loss as passed to `compile`, by output or for all.
        shapes: Shape of each output, by name.
        tasks: Task of each output, by name; `None` where it is not known. Defaults to `None`.
        axes: The axis of the channels (or classes) of each output, by name. Defaults to the last.
    """

    def __init__(
        self,
        loss: Any,
        shapes: dict[str, tuple[int | None, ...]],
        tasks: dict[str, str | None] | None = None,
        axes: dict[str, int] | None = None,
    ) -> None:
        self.names = list(shapes)
        losses, tasks = {name: per_output(loss, name, self.names) for name in shapes}, tasks or {}
        self._with_loss = [name for name, one in losses.items() if one is not None]
        self.outputs = {
            name: OutputReader(
                *(name, shape, losses[name], tasks.get(name)),
                channels_last=axes is None or axes[name] == len(shape) - 1,
            )
            for name, shape in shapes.items()
        }

    def require_shapes(self, y: Any) -> None:
        """Reject specifications of labels, in any structure, that do not fit their outputs."""
        for name, one in self._by_output(y).items():
            spec = dense_spec(one)
            if spec is not None:
                self.outputs[name].require_shape(spec.shape)

    def read(self, y: Any) -> Labels:
        """Read the labels of a batch, any structure; what was read already is returned."""
        if isinstance(y, Labels):
            return y
        given = self._by_output(y)
        read = {name: self.outputs[name].read(x) for name, x in given.items() if x is not None}
        changed = {name: one.given for name, one in read.items() if one.given is not given[name]}
        if changed:
            y = {**given, **changed} if len(given) > 1 else changed[self.names[0]]
        return Labels(y, read)

    def _by_output(self, y: Any) -> dict[str, Any]:
        if (
            isinstance(y, (list, tuple))
            and len(y) != len(self.names)
            and len(y) == len(self._with_loss)
        ):
            y = dict(zip(self._with_loss, y, strict=True))  # As in Keras, only those with a loss.
        return {name: per_output(y, name, self.names) for name in self.names}


class OutputReader:
    """Read the labels of one output; what counts as missing is decided here, once.

    Args:
        name: Name of the output.
        shape: Shape of the predictions, (batch, ..., units).
        loss: The compiled loss of the output in any form, or `None`.
        task: The task of the output; `None` if it is not known. Defaults to `None`.
        channels_last: Whether the last axis of the predictions is the channels (or classes).
            Defaults to `True`.
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int | None],
        loss: Any,
        task: str | None = None,
        channels_last: bool = True,
    ) -> None:
        self.name = name
        self.shape = tuple(shape)
        #: The task of the labels; `None` if it is not known.
        self.task = task or task_from_loss(loss, self.shape[-1])
        kind = loss_name(loss)
        of_indices = kind in OF_INDICES
        own = not of_indices and isinstance(loss, keras.losses.Loss) and not _is_of_keras(loss)
        self._compares, self._channels_last = None if own else kind, channels_last
        #: Number of classes if the loss expects class indices and it is known, else `None`.
        self.classes = self.shape[-1] if of_indices else None
        #: The class that the loss ignores, or `None`.
        self.ignore_class = ignored_class(loss)
        elements = self.shape[-1] != 1 or not channels_last
        self._per_element = elements and (loss is None or is_per_element(loss))
        self._axis = row_axis(loss)
        either = isinstance(loss, str) and loss.lower() in _ANY_CROSSENTROPY
        #: Whether -1 is no label, in labels of any type, in integers, in integer class indices.
        self._coded = either or of_indices or kind in _PROBABILITIES
        self._coded_integers = kind is None and task in ("classes", "binary", "labels")
        self._coded_indices = loss is None and task is None and self.shape[-1] != 1

    def read(self, labels: Any) -> OutputLabels:
        """Find the missing labels.

        Args:
            labels: Class indices (batch, ...) or (batch, ..., 1), or values (batch, ..., units).

        Raises:
            ValueError: If the number of axes is not known.
        """
        if type(labels).__name__ in ("RaggedTensor", "SparseTensor"):
            return OutputLabels(labels, labels)
        given, labels = labels, ops.convert_to_tensor(labels)
        require_known_rank(labels, self.name)
        self.require_shape(labels.shape)
        rows, column = self._form(labels)
        per_element = rows and self._per_element
        known = self._known(labels, rows)
        if known is None:
            return OutputLabels(given, labels, per_element=per_element)
        if rows and not per_element:
            labels = _without_codes(labels, known)
            known = ops.any(known, axis=self._axis, keepdims=True)
        dtype = keras.backend.standardize_dtype(labels.dtype)
        filled = ops.where(known, labels, np.asarray(1 if self.ignore_class == 0 else 0, dtype))
        if column or (rows and not per_element):
            known = ops.squeeze(known, -1 if column else self._axis)
        if self.ignore_class not in (None, UNLABELED):
            given = _drop_ignored(labels, self.ignore_class)
        return OutputLabels(given, filled, known, per_element)

    def require_shape(self, shape: Sequence[int | None]) -> None:
        """Reject a shape of labels that the loss cannot compare with the output."""
        require_label_shape(self.name, self._compares, shape, self.shape, self._channels_last)

    def _form(self, labels: Any) -> tuple[bool, bool]:
        """Return whether labels have a row for each prediction, and whether of one number."""
        same_rank = len(labels.shape) == len(self.shape)
        column = same_rank and labels.shape[-1] == 1
        return same_rank and not column, column

    def _known(self, labels: Any, rows: bool) -> Any:
        """Return which labels, or elements of rows, are known; `None` if none can be missing."""
        if not len(self.shape) - 1 <= len(labels.shape) <= len(self.shape):
            return None
        dtype = keras.backend.standardize_dtype(labels.dtype)
        integers = dtype.startswith("int")
        coded = self._coded or (integers and self._coded_integers)
        coded |= integers and self._coded_indices and not rows
        codes = [UNLABELED] if coded and (integers or "float" in dtype) else []
        if self.ignore_class is not None and self.ignore_class not in codes and not rows:
            codes.append(self.ignore_class)
        known = [labels != code for code in codes]
        if "float" in dtype:
            known.append(ops.logical_not(ops.isnan(labels)))
        return functools.reduce(ops.logical_and, known) if known else None


def _is_of_keras(loss: keras.losses.Loss) -> bool:
    """Return whether a loss is a class of Keras itself; a subclass may compare other shapes."""
    return type(loss).__module__.startswith("keras.")


def is_per_element(loss: Any) -> bool:
    """Whether a loss is the mean over the rows of a value of each element."""
    return loss_name(loss) in PER_ELEMENT


def row_axis(loss: Any) -> int:
    """Return the axis of the classes (or labels) in the tensors of a loss: `axis`, or the last."""
    return loss.get_config().get("axis", -1) if isinstance(loss, keras.losses.Loss) else -1


def ignored_class(loss: Any) -> int | None:
    """Return the class that a loss on class indices ignores, or `None`."""
    ignores = isinstance(loss, keras.losses.SparseCategoricalCrossentropy)
    return loss.ignore_class if ignores else None


def per_output(structure: Any, name: str | None, names: Sequence[str]) -> Any:
    """Return the part of a structure of labels or weights that belongs to one output.

    Returns:
        The part, or `None` if there is none. A plain tensor belongs to every output.
    """
    name = names[0] if name is None and len(names) == 1 else name
    if isinstance(structure, dict):
        return structure.get(name)
    if isinstance(structure, (list, tuple)):
        known = name in names and len(structure) == len(names)
        return structure[names.index(name)] if known else None
    return structure


def require_known_rank(labels: Any, name: str) -> None:
    """Reject labels whose number of axes is not known when a step is traced.

    Raises:
        ValueError: If it is not.
    """
    # Only tensors of TensorFlow may not know it.
    if getattr(labels.shape, "rank", 0) is None:
        raise ValueError(
            f"The labels of the output '{name}' must have a known number of axes. Received: labels "
            "of unknown rank. Set their shape, for example with tf.ensure_shape in the data set."
        )


def mask_weights(mask: Any) -> Any:
    """Return a boolean mask as floats, precise enough to count with."""
    return ops.cast(mask, "float64" if keras.config.floatx() == "float64" else "float32")


def class_indices(labels: Any, shape: tuple[int | None, ...]) -> Any:
    """Return the class index of each label.

    Args:
        labels: Integers (batch, ...) or (batch, ..., 1), or one-hot (batch, ..., classes).
        shape: Shape of the logits that they belong to: (batch, ..., classes).

    Returns:
        int32 tensor (batch, ...): `UNLABELED` for NaN, and where a one-hot row is NaN or zero. The
        class of a row that is known in part (the rest is NaN or -1) is known if one of its elements
        is above 0.5.

    Raises:
        ValueError: If the labels do not match the logits.
    """
    labels = ops.convert_to_tensor(labels)
    if keras.backend.standardize_dtype(labels.dtype) == "bool":
        labels = ops.cast(labels, "int32")
    rank = len(shape)
    if len(labels.shape) == rank and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if len(labels.shape) == rank and labels.shape[-1] == shape[-1]:
        return _classes_of_rows(labels)
    if len(labels.shape) != rank - 1:
        raise ValueError(
            "Labels must be integers (batch, ...) or one-hot (batch, ..., classes) for logits of "
            f"shape {tuple(shape)}. Received: labels of shape {tuple(labels.shape)}"
        )
    return ops.cast(replace_missing(labels, UNLABELED), "int32")


def only_classes(labels: Any, task: str | None) -> Any:
    """Return labels that are classes, `None` for others; without a task only integers are."""
    if labels is None or task in ("classes", "binary"):
        return labels
    integers = "int" in keras.backend.standardize_dtype(labels.dtype)
    return labels if task is None and integers else None


def _classes_of_rows(labels: Any) -> Any:
    known = labels >= 0  # A comparison with NaN is false.
    values = ops.where(known, labels, ops.zeros_like(labels))
    highest, found = ops.max(values, axis=-1), ops.cast(ops.argmax(values, axis=-1), "int32")
    # A missing element might be higher than the known ones.
    least = ops.where(ops.all(known, axis=-1), 0.0, 0.5)
    return ops.where(ops.cast(highest, least.dtype) > least, found, UNLABELED)


def replace_missing(labels: Any, value: float) -> Any:
    """Replace NaN, which means "no label", in labels that are floats."""
    if "float" not in keras.backend.standardize_dtype(labels.dtype):
        return labels
    return ops.where(ops.isnan(labels), ops.cast(value, labels.dtype), labels)


def _without_codes(labels: Any, known: Any) -> Any:
    """Return rows of labels with NaN in place of -1: one that lacks a part is a bad batch."""
    if "float" not in keras.backend.standardize_dtype(labels.dtype):
        labels = ops.cast(labels, keras.config.floatx())
    return ops.where(known, labels, ops.cast(math.nan, labels.dtype))


def _drop_ignored(labels: Any, ignore_class: int) -> Any:
    """Return labels with `UNLABELED` in place of a class; unsigned integers become signed."""
    ignored = labels == ignore_class
    if keras.backend.standardize_dtype(labels.dtype).startswith("uint"):
        labels = ops.cast(labels, "int32")
    return ops.where(ignored, ops.convert_to_tensor(UNLABELED, labels.dtype), labels)
