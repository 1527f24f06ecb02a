"""What the teachers are shown while a cache is built: batches with keys and digests."""

from typing import Any, NamedTuple

import tensorflow as tf
from keras import tree

from keras_kd.cache.keys import input_digests, key_numbers, key_of, keyed, numbered_batches, split
from keras_kd.cache.views import Augment, all_views
from keras_kd.teachers.knowledge import Keyed
from keras_kd.training.tf_data import disable_autotune


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
    augment: Augment | None = None,
    seed: int = 0,
) -> tf.data.Dataset:
    """The batches that the teachers are shown.

    Args:
        dataset: Samples or batches, with keys or in a fixed order.
        batched: Whether they are batches.
        batch_size: Samples of a batch, where they are single samples.
        shard: (i, n) for every n-th sample from the i-th.
        views: How many views there are of each sample.
        augment: With several views, what makes them.
        seed: Seed of the views.

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
                lambda *sample: (all_views(augment, seed, split(sample)[0], views),),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        whole = samples.batch(max(1, batch_size // views))
    return disable_autotune(
        whole.map(lambda *element: _prepared(split(element)[0], views)).prefetch(2)
    )


def _prepared(keyed_batch: Keyed, views: int) -> Batch:
    keys, x = key_numbers(keyed_batch.key), keyed_batch.x
    if views == 1:
        return Batch(x, keys, input_digests(x))
    x = tree.map_structure(lambda part: tf.reshape(part, (-1, *part.shape[2:])), x)
    return Batch(x, keys, tf.reshape(input_digests(x), (-1, views)))


def _belongs(key: Any, i: int, n: int) -> Any:
    return tf.math.floormod(key_numbers(key), n) == i
