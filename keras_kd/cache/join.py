"""Joining of cached teacher outputs to a data set: one lookup per batch."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_kd.cache.elements import Augment, check_augment, split_element, split_key
from keras_kd.cache.input_specs import is_batched, select_stored
from keras_kd.cache.keys import (
    CHUNK,
    Dataset,
    assert_cardinality,
    has_fixed_shapes,
    input_digests,
    is_infinite,
    key_numbers,
    keyed,
    number_batches,
)
from keras_kd.cache.reader import Reader
from keras_kd.cache.row_lookup import RowLookup
from keras_kd.cache.schema import CacheSchema, StoredTap
from keras_kd.cache.views import add_random_numbers, draw_views, make_views
from keras_kd.teachers.knowledge import (
    PREPARED,
    CacheError,
    JoinedInputs,
    tap_key,
    teacher_key,
)
from keras_kd.training.batches import as_samples_or_batches
from keras_kd.training.graph_errors import marked
from keras_kd.training.tf_data import disable_autotune


def join(
    reader: Reader, dataset: Dataset, augment: Augment | None = None, seed: int | None = None
) -> Dataset:
    """Return the data set with `JoinedInputs` in place of x; see `KnowledgeCache.join`."""
    dataset = as_samples_or_batches(dataset, "KnowledgeCache.join")
    schema, owner = reader.manifest.schema, f"KnowledgeCache '{reader.folder}'"
    check_augment(reader, augment)
    x, key = split_key(split_element(dataset.element_spec)[0])
    batched = is_batched(select_stored(x, schema.input_names, owner), schema.inputs, owner)
    if key is None:
        _check_size(reader, dataset, batched)
    if batched:
        batches = dataset if key is not None else number_batches(dataset)
        joined = _join_batches(reader, batches, augment, seed)
        return disable_autotune(joined.prefetch(tf.data.AUTOTUNE))
    samples = dataset if key is not None else keyed(dataset)
    batches = samples.batch(CHUNK if has_fixed_shapes(samples) else 1)
    joined = disable_autotune(_join_batches(reader, batches, augment, seed).unbatch())
    return assert_cardinality(joined, samples.cardinality())


def _join_batches(
    reader: Reader, batches: Dataset, augment: Augment | None, seed: int | None
) -> Dataset:
    add_outputs = _make_map(reader, augment)
    if augment is not None:
        batches = add_random_numbers(batches, seed)
        return batches.map(add_outputs, num_parallel_calls=tf.data.AUTOTUNE)
    # `*element`: an element without labels is a Keyed, a tuple that `map` would unpack.
    return batches.map(
        lambda *element: add_outputs(None, element), num_parallel_calls=tf.data.AUTOTUNE
    )


def _make_map(reader: Reader, augment: Augment | None) -> Callable[..., tuple]:
    """Return a function that adds teacher outputs to a batch with keys and a random number."""
    schema, lookup = reader.manifest.schema, RowLookup(reader)
    columns = {file: schema.columns[file] for file in reader.values}
    shapes = [shape if schema.views == 1 else shape[1:] for shape, _ in columns.values()]
    types = [tf.as_dtype(dtype) for _, dtype in columns.values()]
    take, check_inputs = _marking_errors(lookup.take), _marking_errors(lookup.check)

    def add_outputs(number: Any, element: Any) -> tuple:
        (x, key), rest = split_element(element)
        keys = key_numbers(key)
        views = draw_views(number, keys, schema.views) if augment else tf.zeros_like(keys)
        if augment is not None:
            x = make_views(augment, schema.seed, x, keys, views)
        *values, must_check = tf.numpy_function(take, [keys, views], [*types, tf.bool])

        def check() -> Any:
            stored = select_stored(x, schema.input_names, f"KnowledgeCache '{reader.folder}'")
            return tf.numpy_function(check_inputs, [keys, views, input_digests(stored)], tf.bool)

        with tf.control_dependencies([tf.cond(must_check, check, lambda: tf.constant(True))]):
            rows = {
                file: tf.ensure_shape(value, (None, *shape))
                for file, value, shape in zip(columns, values, shapes, strict=True)
            }
        return (JoinedInputs(x, _teacher_outputs(schema, rows)), *rest)

    return add_outputs


def _marking_errors(function: Callable) -> Callable:
    """Return the function with its `CacheError`s marked, for `fit` to raise them again."""

    def run(*args: Any) -> Any:
        try:
            return function(*args)
        except CacheError as error:
            raise CacheError(marked(str(error))) from error

    return run


def _teacher_outputs(schema: CacheSchema, rows: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        teacher_key(number, teacher.name, teacher.fingerprint): {
            **{tap_key(t.name, t.serves): _tap_value(t, schema, rows) for t in teacher.taps},
            **({PREPARED: rows[teacher.prepared]} if teacher.prepared else {}),
        }
        for number, teacher in enumerate(schema.teachers)
    }


def _tap_value(tap: StoredTap, schema: CacheSchema, rows: dict[str, Any]) -> Any:
    parts = [rows[file] for file in tap.columns(schema.dtype)]
    value = parts[0] if tap.top_k is None else _restore_logits(*parts, tap.shape[-1])
    return tf.cast(value, tap.dtype)


def _check_size(reader: Reader, dataset: Dataset, batched: bool) -> None:
    """Reject a data set that is known to have more samples than the cache."""
    if is_infinite(dataset):
        raise CacheError(
            f"KnowledgeCache '{reader.folder}': the data set repeats indefinitely, so its samples "
            "cannot be numbered. Call `repeat` after `join`, or give them keys with kd.keyed "
            "before it."
        )
    count = int(dataset.cardinality())
    if not batched and count > reader.manifest.rows:
        raise CacheError(
            f"KnowledgeCache '{reader.folder}': it has {reader.manifest.rows:,} samples. Received: "
            f"a data set of {count:,}. It was built with another data set."
        )


def _restore_logits(values: Any, indices: Any, rest: Any, classes: int) -> Any:
    """Do what `restore_logits` does in the graph of a data set."""
    k = values.shape[-1]
    shape = tf.concat([tf.shape(rest), [classes]], axis=0)
    even = tf.broadcast_to((rest - math.log(classes - k))[..., tf.newaxis], shape)
    flat = tf.reshape(even, (-1, classes))
    rows = tf.range(tf.shape(flat)[0])[:, tf.newaxis] + tf.zeros((1, k), tf.int32)
    columns = tf.reshape(tf.cast(indices, tf.int32), (-1, k))
    at = tf.stack([rows, columns], axis=-1)
    full = tf.tensor_scatter_nd_update(flat, at, tf.reshape(values, (-1, k)))
    return tf.reshape(full, shape)
