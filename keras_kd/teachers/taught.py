"""What the teachers are shown while a cache is built: batches with keys and digests."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from keras import tree

from keras_kd.teachers.lesson import Keyed
from keras_kd.teachers.samples import (
    input_digests,
    key_numbers,
    key_of,
    keyed,
    numbered_batches,
    split,
)


class Batch(NamedTuple):
    """A batch for the teachers.

    Attributes:
        x: The inputs; with V views of each sample, V for each, sample by sample.
        keys: int64 (batch,), the samples' keys.
        digests: int64 (batch,), or (batch, V), of the inputs.
    """

    x: Any
    keys: Any
    digests: Any

    def only(self, chosen: Any, views: int) -> Any:
        """The inputs of some of the samples."""
        chosen = chosen.repeat(views)
        return tree.map_structure(lambda part: tf.boolean_mask(part, chosen), self.x)


def taught(
    dataset: tf.data.Dataset,
    batched: bool,
    batch_size: int,
    shard: tuple[int, int] | None = None,
    views: int = 1,
    view: Callable[[Any, Any, int], Any] | None = None,
) -> tf.data.Dataset:
    """The batches that the teachers are shown.

    Args:
        dataset: Samples or batches, with keys or in a fixed order.
        batched: Whether they are batches.
        batch_size: Samples of a batch, where they are single samples.
        shard: (i, n) for every n-th sample from the i-th.
        views: How many views there are of each sample.
        view: With several views, a function of a sample, its key and the view's number.

    Returns:
        A data set of `Batch`.
    """
    has_key = key_of(split(dataset.element_spec)[0])[1] is not None
    if batched and shard is None and views == 1:
        whole = dataset if has_key else numbered_batches(dataset)
    else:
        samples = dataset.unbatch() if batched else dataset
        samples = samples if has_key else keyed(samples)
        if shard is not None:
            samples = samples.filter(lambda *sample: _belongs(split(sample)[0].key, *shard))
        if views > 1:
            samples = samples.map(
                lambda *sample: (_all_views(split(sample)[0], views, view),),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        whole = samples.batch(max(1, batch_size // views))
    return whole.map(lambda *element: _prepared(split(element)[0], views)).prefetch(2)


def _prepared(keyed_batch: Keyed, views: int) -> Batch:
    keys, x = key_numbers(keyed_batch.key), keyed_batch.x
    if views == 1:
        return Batch(x, keys, input_digests(x))
    x = tree.map_structure(lambda part: tf.reshape(part, (-1, *part.shape[2:])), x)
    return Batch(x, keys, tf.reshape(input_digests(x), (-1, views)))


def _all_views(sample: Keyed, views: int, view: Callable[[Any, Any, int], Any]) -> Keyed:
    seen = [view(sample.x, sample.key, number) for number in range(views)]
    return Keyed(tree.map_structure(lambda *parts: tf.stack(parts), *seen), sample.key)


def _belongs(key: Any, i: int, n: int) -> Any:
    return tf.math.floormod(key_numbers(key), n) == i
