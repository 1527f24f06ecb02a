"""Knowledge joined to the samples of a `tf.data.Dataset`: one look-up for each batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_kd.cache.input_specs import is_batched
from keras_kd.cache.keys import (
    CHUNK,
    has_one_size,
    input_digests,
    key_numbers,
    key_of,
    keyed,
    numbered_batches,
    require_dataset,
    split,
)
from keras_kd.cache.reader import Reader
from keras_kd.cache.schema import Content, StoredTap
from keras_kd.cache.top_k import restored
from keras_kd.cache.views import Augment, chosen_views, draw, with_draws
from keras_kd.teachers.knowledge import CacheError, JoinedInputs, tap_key, teacher_key
from keras_kd.training.graph_errors import marked
from keras_kd.training.tf_data import disable_autotune

#: One batch in so many is checked again after its samples were.
_EVERY = 16


def join(
    reader: Reader,
    dataset: tf.data.Dataset,
    augment: Augment | None = None,
    seed: int | None = None,
) -> tf.data.Dataset:
    """The data set with a `Lesson` in place of x; see `KnowledgeCache.join`."""
    require_dataset(dataset, "KnowledgeCache.join")
    content, what = reader.manifest.content, f"KnowledgeCache '{reader.folder}'"
    _require_augment(content, augment, what)
    x, key = key_of(split(dataset.element_spec)[0])
    batched = is_batched(x, content.inputs, what)
    if key is None:
        _require_size(reader, dataset, batched)
    teach = _teach(reader, augment)
    if batched:
        batches = dataset if key is not None else numbered_batches(dataset)
        return disable_autotune(_mapped(teach, batches, augment, seed).prefetch(tf.data.AUTOTUNE))
    samples = dataset if key is not None else keyed(dataset)
    count, size = samples.cardinality(), CHUNK if has_one_size(samples) else 1
    joined = disable_autotune(_mapped(teach, samples.batch(size), augment, seed).unbatch())
    return joined.apply(tf.data.experimental.assert_cardinality(count)) if count >= 0 else joined


def _mapped(
    teach: Callable[..., tuple],
    batches: tf.data.Dataset,
    augment: Augment | None,
    seed: int | None,
) -> tf.data.Dataset:
    if augment is not None:
        return with_draws(batches, seed).map(teach, num_parallel_calls=tf.data.AUTOTUNE)
    # A data set of x alone hands over x itself, which is a tuple with names.
    return batches.map(lambda *element: teach(None, element), num_parallel_calls=tf.data.AUTOTUNE)


class LookUp:
    """The rows of one joined data set, batch after batch.

    The digest of each input is taken when the sample is first seen and for one batch in sixteen
    after that: it would cost as much as the rest of the look-up. Batches come from several threads,
    which at worst take a digest once more.

    Args:
        reader: The cache.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._seen = np.zeros(len(reader.inputs), bool)
        self._batches = 0

    def take(self, keys: np.ndarray, views: np.ndarray) -> list[np.ndarray]:
        """The rows of a batch by file, in the order of `Reader.values`; and whether to check it."""
        places = self._reader.places(keys, views)
        self._batches += 1
        doubt = self._batches % _EVERY == 0 or not self._seen[places].all()
        return [*(values.take(places, axis=0) for values in self._reader.values.values()), doubt]

    def check(self, keys: np.ndarray, views: np.ndarray, digests: np.ndarray) -> bool:
        """Refuses inputs that the teachers did not see."""
        self._reader.require_inputs(keys, views, digests)
        self._seen[self._reader.places(keys, views)] = True
        return True


def _teach(reader: Reader, augment: Augment | None) -> Callable[..., tuple]:
    """A map over keyed batches, each with a random number."""
    content, look_up = reader.manifest.content, LookUp(reader)
    columns = {file: content.columns[file] for file in reader.values}
    shapes = [shape if content.views == 1 else shape[1:] for shape, _ in columns.values()]
    types = [tf.as_dtype(dtype) for _, dtype in columns.values()]
    take, check_rows = _marking_errors(look_up.take), _marking_errors(look_up.check)

    def teach(number: Any, element: Any) -> tuple:
        (x, key), rest = split(element)
        keys = key_numbers(key)
        views = draw(number, keys, content.views) if augment else tf.zeros_like(keys)
        if augment is not None:
            x = chosen_views(augment, content.seed, x, keys, views)
        *found, doubt = tf.numpy_function(take, [keys, views], [*types, tf.bool])

        def check() -> Any:
            return tf.numpy_function(check_rows, [keys, views, input_digests(x)], tf.bool)

        with tf.control_dependencies([tf.cond(doubt, check, lambda: tf.constant(True))]):
            rows = {
                file: tf.ensure_shape(values, (None, *shape))
                for file, values, shape in zip(columns, found, shapes, strict=True)
            }
        return (JoinedInputs(x, _said(content, rows)), *rest)

    return teach


def _marking_errors(function: Callable) -> Callable:
    """Return the function with its `CacheError`s marked, for `fit` to raise them again."""

    def run(*args: Any) -> Any:
        try:
            return function(*args)
        except CacheError as error:
            raise CacheError(marked(str(error))) from error

    return run


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


def _require_augment(content: Content, augment: Augment | None, what: str) -> None:
    if augment is not None and not callable(augment):
        raise TypeError(f"{what}: `augment` must be a function. Received: augment={augment!r}")
    if (content.views > 1) != (augment is not None):
        wanted = (
            f"it holds {content.views} views of each sample, so pass the `augment` that made them"
            if content.views > 1
            else "it was built without views, so the samples cannot be augmented: the teachers saw "
            "them as they are. Build it with `views` and `augment`"
        )
        raise CacheError(f"{what}: {wanted}. Received: augment={augment!r}")


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
