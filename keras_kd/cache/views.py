"""Augmented views: the same key and view number always give the same pixels."""

from typing import Any

import tensorflow as tf
from keras import tree

from keras_kd.cache.elements import Augment
from keras_kd.cache.keys import Dataset, key_numbers
from keras_kd.teachers.knowledge import Keyed


def make_all_views(augment: Augment, seed: int, sample: Keyed, views: int) -> Keyed:
    """Return all views of one sample, stacked along a new first axis."""
    key = key_numbers(sample.key)
    stack = [_make_view(augment, seed, sample.x, key, number) for number in range(views)]
    return Keyed(tree.map_structure(lambda *parts: tf.stack(parts), *stack), sample.key)


def make_views(augment: Augment, seed: int, x: Any, keys: Any, numbers: Any) -> Any:
    """Return one view of each sample of a batch.

    Args:
        augment: The augmentation.
        seed: Seed of all views.
        x: The batch.
        keys: int64 (batch,).
        numbers: int64 (batch,), the index of each sample's view.
    """

    def make_one(parts: tuple) -> Any:
        return _make_view(augment, seed, *parts)

    samples = tree.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), (x, keys, numbers))
    outputs = tf.function(make_one).get_concrete_function(samples).structured_outputs
    signature = tree.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), outputs)
    return tf.map_fn(make_one, (x, keys, numbers), fn_output_signature=signature)


def add_random_numbers(batches: Dataset, seed: int | None) -> Dataset:
    """Pair each batch with a random number that changes in each epoch."""
    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip((numbers, batches))


def draw_views(number: Any, keys: Any, views: int) -> Any:
    """Return the index of a random view for each sample of a batch, int64 (batch,)."""
    seed = tf.stack([number, tf.zeros_like(number)])
    return tf.random.stateless_uniform(tf.shape(keys), seed, maxval=views, dtype=tf.int64)


def _make_view(augment: Augment, seed: int, x: Any, key: Any, number: Any) -> Any:
    key = tf.bitwise.bitwise_xor(key, tf.constant(seed, tf.int64))
    return augment(x, tf.stack([key, tf.cast(number, tf.int64)]))
