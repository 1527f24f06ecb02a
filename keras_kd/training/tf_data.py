"""`tf.data` data sets: what they are made of, and the options they are read with.

A program without TensorFlow has none, so this module imports it where there is one.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import tree

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class DenseSpec:
    """The shape and the dtype of a batch of one array."""

    shape: tuple[int | None, ...]
    dtype: str


def is_dataset(value: Any) -> bool:
    """Whether a value is a `tf.data.Dataset`."""
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(value, tf.data.Dataset)


def is_ragged_or_sparse(value: Any) -> bool:
    """Whether a value is a tensor of TensorFlow without a dense array."""
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(value, (tf.RaggedTensor, tf.SparseTensor))


def readable_data_errors(position: Callable[[], str] | None = None) -> AbstractContextManager:
    """Raise readable errors in place of those of a `tf.data.Dataset`; see `readable_errors`."""
    if "tensorflow" not in sys.modules:
        return contextlib.nullcontext()
    from keras_kd.training.graph_errors import readable_errors

    return readable_errors(position)


def has_ragged_parts(dataset: "tf.data.Dataset") -> bool:
    """Whether the batches of a data set hold ragged tensors."""
    import tensorflow as tf

    specs = tf.nest.flatten(dataset.element_spec)
    return any(isinstance(spec, tf.RaggedTensorSpec) for spec in specs)


def has_known_rank(tensor: Any) -> bool:
    """Whether the number of a tensor's axes is known; in graphs of TensorFlow it may not be."""
    return getattr(tensor.shape, "rank", 0) is not None


def repeats_forever(dataset: "tf.data.Dataset") -> bool:
    """Whether a data set is known to repeat without end."""
    import tensorflow as tf

    return int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY


def disable_autotune(dataset: "tf.data.Dataset") -> "tf.data.Dataset":
    """Disable the autotuning of `tf.data`, unless the user enabled it.

    The thread of the autotuner sleeps for longer and longer intervals, and the end of an iteration
    sometimes waits until it wakes up. Without it, parallel calls use all threads.
    """
    if dataset.options().autotune.enabled is not None:
        return dataset
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def element_parts(dataset: "tf.data.Dataset") -> tuple[Any, Any, Any]:
    """Return the specifications of x, y and sample weights, `None` for missing parts."""
    spec = dataset.element_spec
    parts = spec if type(spec) is tuple else (spec,)
    return (*parts, None, None)[:3]


def array_specs(x: Any, y: Any, weights: Any) -> tuple[Any, Any, Any] | None:
    """Return the specifications of a batch of arrays, or `None` if a part is something else."""
    parts = [part for part in tree.flatten((x, y, weights)) if part is not None]
    if not parts or not all(_is_array(part) for part in parts):
        return None
    return tuple(
        None if part is None else tree.map_structure(array_spec, part) for part in (x, y, weights)
    )


def dense_spec(spec: Any) -> DenseSpec | None:
    """Return the specification of one dense tensor of known rank, or `None` for anything else."""
    if spec is None or isinstance(spec, DenseSpec):
        return spec
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(spec, tf.TensorSpec) or spec.shape.rank is None:
        return None
    return DenseSpec(tuple(spec.shape), spec.dtype.name)


def dataset_from_samples(arrays: Any) -> "tf.data.Dataset":
    """Return the samples of arrays."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(_as_element(arrays))


def dataset_from_batches(
    batches: Iterable[Any], count: int | None, owner: str
) -> "tf.data.Dataset":
    """Return a data set of the batches of an iterable that can be read again.

    Args:
        batches: The batches, of tensors with the same shapes except for the batch size.
        count: Their number, or `None` if it is unknown.
        owner: What takes the data, for messages.

    Raises:
        ValueError: If there is no batch.
    """
    import tensorflow as tf

    first = next(map(_as_element, batches), None)
    if first is None:
        raise ValueError(f"{owner}: the data must have at least one batch. Received: none")
    specs = tree.map_structure(lambda part: array_spec(np.asarray(part)), first)
    spec = tree.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), specs)
    elements = functools.partial(map, _as_element, batches)
    dataset = tf.data.Dataset.from_generator(elements, output_signature=spec)
    if count is None:
        return dataset
    return dataset.apply(tf.data.experimental.assert_cardinality(count))


def call_with_first_batch(
    dataset: "tf.data.Dataset", function: Callable[..., np.bool_]
) -> "tf.data.Dataset":
    """Call a function with the arrays of the first batch when it is read."""
    import tensorflow as tf

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


def _is_array(value: Any) -> bool:
    tensor = keras.ops.is_tensor(value) and not is_ragged_or_sparse(value)
    return tensor or isinstance(value, np.ndarray)


def array_spec(array: Any) -> DenseSpec:
    """Return the specification of a batch of one array."""
    text = isinstance(array, np.ndarray) and array.dtype.kind in "USO"
    dtype = "string" if text else keras.backend.standardize_dtype(array.dtype)
    return DenseSpec((None, *array.shape[1:]), dtype)
