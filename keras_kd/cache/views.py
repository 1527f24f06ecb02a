"""Augmented views: a sample's key and the number of a view give the same pixels at any time."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import tree

from keras_kd.cache.keys import key_numbers
from keras_kd.teachers.knowledge import Keyed

#: `augment(x, seed) -> x` on one sample; seed is int64 (2,), as `tf.random.stateless_*` take it.
Augment = Callable[[Any, Any], Any]


def all_views(augment: Augment, seed: int, sample: Keyed, views: int) -> Keyed:
    """All views of one sample, one after the other along a new first dimension."""
    key = key_numbers(sample.key)
    seen = [_view(augment, seed, sample.x, key, number) for number in range(views)]
    return Keyed(tree.map_structure(lambda *parts: tf.stack(parts), *seen), sample.key)


def chosen_views(augment: Augment, seed: int, x: Any, keys: Any, numbers: Any) -> Any:
    """One view of each sample of a batch.

    Args:
        augment: The augmentation.
        seed: Seed of all views.
        x: The batch.
        keys: int64 (batch,).
        numbers: int64 (batch,), which view of each.

    Returns:
        The batch, augmented.
    """

    def one(parts: tuple) -> Any:
        return _view(augment, seed, *parts)

    samples = tree.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), (x, keys, numbers))
    made = tf.function(one).get_concrete_function(samples).structured_outputs
    signature = tree.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), made)
    return tf.map_fn(one, (x, keys, numbers), fn_output_signature=signature)


def with_draws(batches: tf.data.Dataset, seed: int | None) -> tf.data.Dataset:
    """Each batch with a random number, another one in each epoch."""
    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip((numbers, batches))


def draw(number: Any, keys: Any, views: int) -> Any:
    """Which view of each sample of a batch, int64 (batch,).

    Args:
        number: The batch's random number.
        keys: The samples' keys.
        views: How many views there are.
    """
    seed = tf.stack([number, tf.zeros_like(number)])
    return tf.random.stateless_uniform(tf.shape(keys), seed, maxval=views, dtype=tf.int64)


def _view(augment: Augment, seed: int, x: Any, key: Any, number: Any) -> Any:
    key = tf.bitwise.bitwise_xor(key, tf.constant(seed, tf.int64))
    return augment(x, tf.stack([key, tf.cast(number, tf.int64)]))
