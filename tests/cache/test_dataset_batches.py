"""What the teachers of a cache get from a `tf.data.Dataset`."""

import numpy as np
import pytest
import tensorflow as tf

from keras_kd.cache.dataset_batches import open_dataset, teacher_batches
from keras_kd.teachers.teacher import as_teachers
from tests import toy

X = np.random.default_rng(0).normal(size=(10, 5)).astype("float32")
SAMPLES = tf.data.Dataset.from_tensor_slices((X, np.arange(10)))


@pytest.mark.parametrize("batched", [False, True], ids=["samples", "batches"])
def test_batches_have_keys_and_digests(batched):
    data = SAMPLES.batch(3) if batched else SAMPLES
    batches = list(teacher_batches(data, batched, batch_size=4))
    assert [len(batch.keys) for batch in batches] == ([3, 3, 3, 1] if batched else [4, 4, 2])
    np.testing.assert_array_equal(np.concatenate([b.keys for b in batches]), np.arange(10))
    np.testing.assert_array_equal(np.concatenate([b.x for b in batches]), X)
    assert len(np.unique(np.concatenate([b.digests for b in batches]))) == 10


def test_a_shard_has_every_nth_sample():
    batches = list(teacher_batches(SAMPLES.batch(5), True, batch_size=10, shard=(1, 3)))
    np.testing.assert_array_equal(np.concatenate([b.keys for b in batches]), [1, 4, 7])


def test_views_of_a_sample_are_consecutive():
    augment = lambda x, seed: x + tf.random.stateless_uniform((5,), seed)  # noqa: E731
    (batch,) = teacher_batches(SAMPLES, False, batch_size=99, views=2, augment=augment)
    assert (batch.x.shape, batch.digests.shape) == ((20, 5), (10, 2))
    x = batch.x.numpy().reshape(10, 2, 5)
    assert (np.abs(x - X[:, None]) <= 1).all()
    assert not (x[:, 0] == x[:, 1]).any()
    chosen = np.arange(10) == 3
    np.testing.assert_array_equal(batch.select(chosen, 2), x[3])


def test_batches_are_not_autotuned():
    """Otherwise the end of a build waits for the thread of the autotuning, up to 10 seconds."""
    for batched, data in ((True, SAMPLES.batch(3)), (False, SAMPLES)):
        assert teacher_batches(data, batched, 4).options().autotune.enabled is False


def test_a_source_tells_samples_from_batches():
    teachers = as_teachers(toy.mlp("teacher"))
    for data, batched in ((SAMPLES, False), (SAMPLES.batch(3), True), ((X, np.arange(10)), False)):
        source = open_dataset(teachers, data, 4, None, 1, None, 0)
        assert source.batched is batched
        assert tuple(source.inputs.shape) == (None, 5)
        np.testing.assert_array_equal(source.example(), X[: 3 if batched else 4])


def test_a_data_set_without_end_is_rejected():
    with pytest.raises(ValueError, match="repeats indefinitely"):
        open_dataset(as_teachers(toy.mlp("teacher")), SAMPLES.repeat(), 4, None, 1, None, 0)
