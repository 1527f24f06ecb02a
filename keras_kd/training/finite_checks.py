"""Checks that a batch and the teacher outputs for it have no NaN or infinite values."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from keras import tree

from keras_kd.training.distribution import replicas
from keras_kd.training.graph_errors import error_kind, marked
from keras_kd.training.labels import Labels

#: What to do with a bad batch.
ON_BAD_BATCH = ("raise", "skip")
#: The kind of these errors.
_BAD_BATCH = "bad_batch"


def finite_assertions(named: dict[str, Any], together: bool = False) -> list[Any]:
    """Return assertions that values are finite; later operations take them as dependencies."""
    named = {message: _floating(values) for message, values in named.items()}
    named = {message: values for message, values in named.items() if values}
    finite = [_all_finite(values) for values in named.values()]
    if together and replicas() > 1 and finite:
        bad = tf.stack([tf.cast(~one, tf.float32) for one in finite])
        bad = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, bad)
        finite = tf.unstack(bad == 0)
    assertions = [
        tf.debugging.Assert(condition, [marked(message, _BAD_BATCH)])
        for condition, message in zip(finite, named, strict=True)
    ]
    return [op for op in assertions if op is not None]  # None where the step runs eagerly.


def batch_values(x: Any, labels: Labels | None, sample_weight: Any) -> dict[str, Any]:
    """Return the values of a batch for `finite_assertions`.

    Missing labels have been replaced. What is NaN still is part of a row that cannot lack a part.
    """
    return {
        "The batch has NaN or infinite values in its inputs.": x,
        "The batch has NaN or infinite values in its labels. (A row of NaN is a sample without a "
        "label. A row that is NaN in part needs a loss that is a mean over the row, such as "
        "keras.losses.BinaryCrossentropy.)": [one.filled for one in labels.outputs.values()]
        if labels
        else None,
        "The batch has NaN or infinite values in its sample weights.": sample_weight,
    }


def teacher_values(names: Sequence[str], outputs: Sequence[Any]) -> dict[str, Any]:
    """Return the outputs of teachers for `finite_assertions`."""
    named = zip(names, outputs, strict=False)
    return {f"Teacher '{name}' gave NaN or infinite values.": values for name, values in named}


def is_bad_batch(error: Exception) -> bool:
    """Whether an error of the graph is the failure of one of the assertions."""
    failed = isinstance(error, tf.errors.InvalidArgumentError)
    return failed and error_kind(error) == _BAD_BATCH


def _floating(structure: Any) -> list[Any]:
    found = [part for part in tree.flatten(structure) if tf.is_tensor(part)]
    found = [part.values if isinstance(part, tf.SparseTensor) else part for part in found]
    found = [part.flat_values if isinstance(part, tf.RaggedTensor) else part for part in found]
    return [part for part in found if part.dtype.is_floating]


def _all_finite(values: list[Any]) -> Any:
    finite = [tf.reduce_all(tf.math.is_finite(part)) for part in values]
    return finite[0] if len(finite) == 1 else tf.reduce_all(tf.stack(finite))
