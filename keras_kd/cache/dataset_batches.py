"""What the teachers of a cache get from a `tf.data.Dataset`."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from keras import tree

from keras_kd.cache.elements import Augment, Source, TeacherBatch, split_element, split_key
from keras_kd.cache.input_specs import takes_batches
from keras_kd.cache.keys import (
    Dataset,
    input_digests,
    is_infinite,
    key_numbers,
    keyed,
    number_batches,
)
from keras_kd.cache.views import make_all_views
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.knowledge import CacheError, Keyed
from keras_kd.training.batches import as_samples_or_batches
from keras_kd.training.tf_data import disable_autotune


def open_dataset(
    teachers: Sequence[BaseTeacher],
    data: Any,
    batch_size: int,
    shard: tuple[int, int] | None,
    views: int,
    augment: Augment | None,
    seed: int,
) -> Source:
    """Return the source of a cache for data in any form; see `KnowledgeCache.build`.

    Raises:
        CacheError: If the data set repeats indefinitely, or the teachers do not accept it.
    """
    dataset = as_samples_or_batches(data, "KnowledgeCache.build")
    if is_infinite(dataset):
        raise CacheError(
            "KnowledgeCache.build: the data set repeats indefinitely. Remove `repeat`, or call it "
            "after `join`."
        )
    x, _ = split_key(split_element(dataset.element_spec)[0])
    batched = takes_batches(teachers, x)
    batches = teacher_batches(dataset, batched, batch_size, shard, views, augment, seed)
    return Source(x, batched, batches, batches.element_spec.x, lambda: next(iter(batches)).x)


def teacher_batches(
    dataset: Dataset,
    batched: bool,
    batch_size: int,
    shard: tuple[int, int] | None = None,
    views: int = 1,
    augment: Augment | None = None,
    seed: int = 0,
) -> Dataset:
    """Return a data set of `TeacherBatch`."""
    has_key = split_key(split_element(dataset.element_spec)[0])[1] is not None
    if batched and shard is None and views == 1:
        batches = dataset if has_key else number_batches(dataset)
    else:
        samples = dataset.unbatch() if batched else dataset
        samples = samples if has_key else keyed(samples)
        if shard is not None:
            i, n = shard
            samples = samples.filter(
                lambda *sample: tf.math.floormod(key_numbers(split_element(sample)[0].key), n) == i
            )
        if views > 1:
            samples = samples.map(
                lambda *sample: (make_all_views(augment, seed, split_element(sample)[0], views),),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        batches = samples.batch(max(1, batch_size // views))
    return disable_autotune(
        batches.map(lambda *element: _teacher_batch(split_element(element)[0], views)).prefetch(2)
    )


def _teacher_batch(batch: Keyed, views: int) -> TeacherBatch:
    keys, x = key_numbers(batch.key), batch.x
    if views == 1:
        return TeacherBatch(x, keys, input_digests(x))
    x = tree.map_structure(lambda part: tf.reshape(part, (-1, *part.shape[2:])), x)
    return TeacherBatch(x, keys, tf.reshape(input_digests(x), (-1, views)))
