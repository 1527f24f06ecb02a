"""Knowledge joined to the samples of a `tf.data.Dataset`: one look-up for each batch."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_kd.teachers.content import CacheError, Content, StoredTap
from keras_kd.teachers.lesson import Lesson, tap_key, teacher_key
from keras_kd.teachers.reading import Reader
from keras_kd.teachers.samples import (
    CHUNK,
    input_digests,
    key_numbers,
    key_of,
    keyed,
    numbered_batches,
    require_dataset,
    split,
)
from keras_kd.teachers.specs import is_batched
from keras_kd.teachers.top_k import restored


def join(
    reader: Reader,
    dataset: tf.data.Dataset,
) -> tf.data.Dataset:
    """The data set with a `Lesson` in place of x; see `KnowledgeCache.join`."""
    require_dataset(dataset, "KnowledgeCache.join")
    content = reader.manifest.content
    x, key = key_of(split(dataset.element_spec)[0])
    batched = is_batched(x, content.inputs, f"KnowledgeCache '{reader.folder}'")
    if key is None:
        _require_size(reader, dataset, batched)
    teach = _teach(reader)
    if batched:
        keyed_batches = dataset if key is not None else numbered_batches(dataset)
        return keyed_batches.map(teach).prefetch(tf.data.AUTOTUNE)
    samples = dataset if key is not None else keyed(dataset)
    count = samples.cardinality()
    joined = samples.batch(CHUNK).map(teach).unbatch()
    return joined.apply(tf.data.experimental.assert_cardinality(count)) if count >= 0 else joined


def _teach(reader: Reader) -> Callable[..., tuple]:
    """A map over keyed batches."""
    content = reader.manifest.content
    columns = {file: reader.manifest.columns[file] for file in reader.values}
    types = [tf.as_dtype(dtype) for _, dtype in columns.values()]

    def teach(*element: Any) -> tuple:
        # A data set of x alone hands over x itself, which may be a tuple with names.
        x, rest = split(element)
        keys, digests = key_numbers(x.key), input_digests(x.x)
        views = tf.zeros_like(keys)
        arrays = tf.numpy_function(reader.take, [keys, views, digests], types, stateful=False)
        rows = {
            file: tf.ensure_shape(values, (None, *columns[file][0]))
            for (file, values) in zip(columns, arrays, strict=True)
        }
        return (Lesson(x.x, _said(content, rows)), *rest)

    return teach


def _said(content: Content, rows: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        teacher_key(number, teacher.name, teacher.fingerprint): {
            tap_key(tap.name, tap.serves): _value(tap, content, rows) for tap in teacher.taps
        }
        for number, teacher in enumerate(content.teachers)
    }


def _value(tap: StoredTap, content: Content, rows: dict[str, Any]) -> Any:
    parts = [rows[file] for file in tap.columns(content.dtype)]
    value = parts[0] if tap.top_k is None else restored(*parts, tap.shape[-1])
    return tf.cast(value, tap.dtype)


def _require_size(reader: Reader, dataset: tf.data.Dataset, batched: bool) -> None:
    """Refuses a data set that says itself that it has more samples than the cache."""
    count = int(dataset.cardinality())
    if count == tf.data.INFINITE_CARDINALITY:
        raise CacheError(
            f"KnowledgeCache '{reader.folder}': the data set repeats without end, so its samples "
            "cannot be numbered. Call `repeat` after `join`, or give them keys with kd.keyed "
            "before it."
        )
    if not batched and count > reader.manifest.rows:
        raise CacheError(
            f"KnowledgeCache '{reader.folder}': it holds {reader.manifest.rows:,} samples. "
            f"Received: a data set of {count:,}. This is another one than it was built with."
        )
