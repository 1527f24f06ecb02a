"""`tf.data` data sets: what they are made of, and the options they are read with."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree


def is_dataset(value: Any) -> bool:
    """Whether a value is a `tf.data.Dataset`."""
    return isinstance(value, tf.data.Dataset)


def repeats_forever(dataset: tf.data.Dataset) -> bool:
    """Whether a data set is known to repeat without end."""
    return int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY


def disable_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Disable the autotuning of `tf.data`, unless the user enabled it.

    The thread of the autotuner sleeps for longer and longer intervals, and the end of an iteration
    sometimes waits until it wakes up. Without it, parallel calls use all threads.
    """
    if dataset.options().autotune.enabled is not None:
        return dataset
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def element_parts(dataset: tf.data.Dataset) -> tuple[Any, Any, Any]:
    """Return the specifications of x, y and sample weights, `None` for missing parts."""
    spec = dataset.element_spec
    parts = spec if type(spec) is tuple else (spec,)
    return (*parts, None, None)[:3]


def array_specs(x: Any, y: Any, weights: Any) -> tuple[Any, Any, Any] | None:
    """Return the specifications of a batch of arrays, or `None` if a part is something else."""
    known = (np.ndarray, tf.Tensor)
    parts = [part for part in tree.flatten((x, y, weights)) if part is not None]
    if not parts or not all(isinstance(part, known) for part in parts):
        return None
    return tuple(
        None if part is None else tree.map_structure(_array_spec, part) for part in (x, y, weights)
    )


def is_dense(spec: Any) -> bool:
    """Whether a specification is that of one dense tensor of known rank."""
    return isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None


def dataset_from_samples(arrays: Any) -> tf.data.Dataset:
    """Return the samples of arrays."""
    return tf.data.Dataset.from_tensor_slices(_as_element(arrays))


def dataset_from_batches(batches: Iterable[Any], count: int | None, owner: str) -> tf.data.Dataset:
    """Return a data set of the batches of an iterable that can be read again.

    Args:
        batches: The batches, of tensors with the same shapes except for the batch size.
        count: Their number, or `None` if it is unknown.
        owner: What takes the data, for messages.

    Raises:
        ValueError: If there is no batch.
    """
    first = next(map(_as_element, batches), None)
    if first is None:
        raise ValueError(f"{owner}: the data must have at least one batch. Received: none")
    spec = tree.map_structure(lambda part: _array_spec(np.asarray(part)), first)
    elements = functools.partial(map, _as_element, batches)
    dataset = tf.data.Dataset.from_generator(elements, output_signature=spec)
    if count is None:
        return dataset
    return dataset.apply(tf.data.experimental.assert_cardinality(count))


def call_with_first_batch(
    dataset: tf.data.Dataset, function: Callable[..., np.bool_]
) -> tf.data.Dataset:
    """Call a function with the arrays of the first batch when it is read."""

    def note(number: Any, batch: Any) -> Any:
        parts = tf.nest.flatten(batch, expand_composites=True)
        noted = tf.cond(
            number == 0,
            lambda: tf.numpy_function(function, parts, tf.bool),
            lambda: tf.constant(False),
        )
        with tf.control_dependencies([noted]):
            return tf.nest.map_structure(tf.identity, batch, expand_composites=True)

    return dataset.enumerate().map(note)


def _as_element(parts: Any) -> Any:
    """Return a batch, or arrays, as an element of a data set, in which a list would be stacked."""
    parts = tree.lists_to_tuples(parts if isinstance(parts, tuple) else (parts,))
    while parts[-1] is None:
        parts = parts[:-1]
    return parts if len(parts) > 1 or isinstance(parts[0], tuple) else parts[0]


def _array_spec(array: Any) -> tf.TensorSpec:
    text = isinstance(array, np.ndarray) and array.dtype.kind in "USO"
    return tf.TensorSpec((None, *array.shape[1:]), tf.string if text else array.dtype)
