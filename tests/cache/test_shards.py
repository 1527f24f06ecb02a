"""Shards of a cache from several machines, and their merge."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.cache.shards import resolve_shard, shard_folder
from tests.cache.caches import SAMPLES, build, read_joined


@pytest.fixture(scope="module")
def vectors():
    x = np.random.default_rng(0).normal(size=(SAMPLES, 5)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, np.arange(SAMPLES) % 4))


@pytest.fixture(scope="module")
def three(mlp, vectors, tmp_path_factory):
    """A folder with three shards."""
    path = tmp_path_factory.mktemp("shards") / "c"
    for i in range(3):
        shard = build(mlp, vectors, path, shard=(i, 3))
        assert len(shard) == len(range(i, SAMPLES, 3))
    return path


@pytest.fixture
def shards(three, tmp_path):
    """A copy of the three shards."""
    return shutil.copytree(three, tmp_path / "c")


def files_of(path):
    return {file.name: file.read_bytes() for file in path.glob("*.npy")}


def test_merged_shards_are_the_cache_that_one_machine_builds(mlp, vectors, shards, tmp_path):
    whole = build(mlp, vectors, tmp_path / "whole")
    merged = kd.KnowledgeCache.merge(shards)
    assert files_of(merged.path) == files_of(whole.path)
    assert merged.manifest == whole.manifest
    assert len(kd.KnowledgeCache.merge(shards)) == SAMPLES
    shutil.rmtree(shards / "part-00000-of-00003")
    assert len(list(kd.KnowledgeCache(shards).join(vectors))) == SAMPLES


def test_shards_of_batches_are_those_of_samples(mlp, vectors, three, tmp_path):
    batched = build(mlp, vectors.batch(7), tmp_path, shard=(1, 3))
    assert files_of(batched.path) == files_of(shard_folder(three, 1, 3))


def test_shards_with_keys_of_their_own_and_views(mlp, vectors, tmp_path):
    keyed = vectors.enumerate().map(
        lambda i, sample: (kd.Keyed(sample[0], tf.strings.as_string(i * 31)), sample[1])
    )
    augment = lambda x, seed: x + tf.random.stateless_normal((5,), seed)  # noqa: E731
    options = {"views": 2, "augment": augment, "dtype": "float32"}
    for i in range(2):
        build(mlp, keyed.shuffle(20), tmp_path / "c", shard=(i, 2), **options)
    merged = kd.KnowledgeCache.merge(tmp_path / "c")
    assert len(merged) == SAMPLES
    x, outputs = read_joined(merged.join(keyed.shuffle(SAMPLES).batch(9), augment))
    np.testing.assert_allclose(outputs, mlp(x), rtol=1e-4, atol=1e-5)


def test_a_single_shard_can_be_joined_with_its_samples_only(vectors, three):
    shard = kd.KnowledgeCache(shard_folder(three, 1, 3))
    keyed = kd.keyed(vectors)
    own = keyed.filter(lambda k, y: k.key % 3 == 1)
    assert len(list(shard.join(own.batch(100)))) == 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="It is shard 1 of 3: join the result"):
        list(shard.join(keyed.batch(5)))


def test_missing_unfinished_and_different_shards_are_named(mlp, vectors, shards, tmp_path):
    with pytest.raises(FileNotFoundError, match="no shards to merge"):
        kd.KnowledgeCache.merge(tmp_path / "nothing")
    second = shard_folder(shards, 1, 3)
    shutil.rmtree(second)
    with pytest.raises(ValueError, match=r"missing: \[\(1, 3\)\]"):
        kd.KnowledgeCache.merge(shards)
    second.mkdir()
    with pytest.raises(ValueError, match=r"unfinished: \['part-00001-of-00003'\]"):
        kd.KnowledgeCache.merge(shards)
    build(mlp, vectors, shards, shard=(1, 3), dtype="float32")
    with pytest.raises(ValueError, match="'part-00001-of-00003' has other dtype than 'part-00000"):
        kd.KnowledgeCache.merge(shards)


def test_another_cache_is_not_overwritten(mlp, vectors, shards):
    build(mlp, vectors, shards, dtype="float32")
    with pytest.raises(ValueError, match="the path has a cache that does not match the shards"):
        kd.KnowledgeCache.merge(shards)


def test_a_damaged_shard_is_named(shards):
    path = shard_folder(shards, 1, 3) / "0.teacher.output.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="part-00001-of-00003': rows 0 to 32 of '0.teacher.out"):
        kd.KnowledgeCache.merge(shards)


def test_a_sample_in_two_shards_is_an_error(shards):
    shutil.rmtree(shard_folder(shards, 1, 3))
    shutil.copytree(shard_folder(shards, 0, 3), shard_folder(shards, 1, 3))
    with pytest.raises(ValueError, match="Received: the key 0 twice"):
        kd.KnowledgeCache.merge(shards)


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_invalid_shards(shard):
    with pytest.raises(ValueError, match=r"`shard` must be \(i, n\) with i from 0 to n - 1"):
        resolve_shard(shard)


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), (1, 2)),
        ({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, ("worker", 0), (1, 3)),
        ({"worker": ["a:1"]}, ("worker", 0), None),
    ],
)
def test_under_a_multi_worker_strategy_each_worker_has_its_shard(
    cluster, task, expected, monkeypatch
):
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster), task_type=task[0], task_id=task[1]
    )
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    # A strategy of two workers would wait for the other one.
    monkeypatch.setattr(strategy.extended, "_cluster_resolver", resolver, raising=False)
    with strategy.scope():
        assert resolve_shard(None) == expected
    assert resolve_shard(None) is None
