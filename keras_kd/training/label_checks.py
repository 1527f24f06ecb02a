"""Assign labels and sample weights to outputs, and check that labels are in range."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree

from keras_kd.training.labels import UNLABELED, replace_missing
from keras_kd.training.tf_data import is_dataset

_SPARSE_FUNCTION = keras.losses.sparse_categorical_crossentropy
_SPARSE = ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy")
_OUT_OF_RANGE = "Labels out of range"
#: End of the message for a loss or metric that gets labels some of which are missing.
CANNOT_OMIT = (
    "gives one value for a {}, so it cannot omit the part without a label (kd.UNLABELED). "
    "Make it return one value per label."
)


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


def _mean_per_sample(weights: Any) -> Any:
    axes = tuple(range(1, len(weights.shape)))
    return ops.mean(weights, axis=axes) if axes else weights


def sparse_classes(loss: Any, shapes: dict[str, tuple]) -> dict[str, tuple[int, int | None]]:
    """Return the outputs that are trained on class indices, and the valid indices.

    Returns:
        For each such output, the number of classes and the class that its loss ignores, if any.
    """
    names = list(shapes)
    found = {}
    for name in names:
        one = per_output(loss, name, names)
        as_class = isinstance(one, keras.losses.SparseCategoricalCrossentropy)
        named = one in _SPARSE if isinstance(one, str) else one is _SPARSE_FUNCTION
        if (as_class or named) and shapes[name][-1] is not None:
            found[name] = (shapes[name][-1], one.ignore_class if as_class else None)
    return found


def check_labels(x: Any, y: Any, allowed: dict[str, tuple], names: Sequence[str]) -> Any:
    """Reject labels out of range: in arrays at once, in a `tf.data.Dataset` as batches are read.

    Returns:
        `x`, or the data set with a check in its pipeline; its order is the same.

    Raises:
        ValueError: If a label in an array is out of range.
    """
    if not allowed:
        return x
    if is_dataset(x):
        if not isinstance(x.element_spec, tuple) or len(x.element_spec) < 2:
            return x
        return x.map(lambda *batch: _check_batch(batch, allowed, names)).prefetch(-1)
    for name, (classes, ignored) in allowed.items():
        labels = per_output(y, name, names)
        if labels is not None:
            labels = replace_missing(ops.convert_to_tensor(labels), UNLABELED)
            values = ops.convert_to_numpy(labels).astype("int64")
            if _outside(values, classes, ignored).any():
                raise ValueError(_message(name, classes, str(values.min()), str(values.max())))
    return x


def _check_batch(batch: tuple, allowed: dict[str, tuple], names: Sequence[str]) -> tuple:
    import tensorflow as tf

    from keras_kd.training.graph_errors import marked

    checks = []
    for name, (classes, ignored) in allowed.items():
        labels = per_output(batch[1], name, names)
        if labels is not None:
            labels = tf.cast(replace_missing(labels, UNLABELED), tf.int64)
            least, greatest = tf.reduce_min(labels), tf.reduce_max(labels)
            fine = tf.logical_not(tf.reduce_any(_outside(labels, classes, ignored)))
            sentence = tf.strings.format(
                marked(_message(name, classes, "{}", "{}")), (least, greatest)
            )
            checks.append(tf.debugging.Assert(fine, [sentence]))
    with tf.control_dependencies(checks):
        return tree.map_structure(tf.identity, batch)


def _outside(labels: Any, classes: int, ignored: int | None) -> Any:
    outside = ((labels < 0) | (labels >= classes)) & (labels != UNLABELED)
    return outside if ignored is None else outside & (labels != ignored)


def _message(name: str, classes: int, least: str, greatest: str) -> str:
    return (
        f"{_OUT_OF_RANGE}: the student's output '{name}' has {classes} classes, so the labels must "
        f"be integers from 0 to {classes - 1} (or kd.UNLABELED, {UNLABELED}, for none). "
        f"Received labels from {least} to {greatest}."
    )
