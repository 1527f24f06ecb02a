"""Parts of a cache from several machines, made one."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy

SAMPLES = 100


@pytest.fixture(scope="module")
def teacher():
    return toy.mlp("teacher")


@pytest.fixture(scope="module")
def samples():
    x = np.random.default_rng(0).normal(size=(SAMPLES, 5)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, np.arange(SAMPLES) % 4))


def build(teacher, dataset, path, **kwargs):
    return kd.KnowledgeCache.build(teacher, dataset, path, verbose=0, **kwargs)


def files_of(path):
    return {file.name: file.read_bytes() for file in path.glob("*.npy")}


@pytest.mark.parametrize("batched", [False, True], ids=["samples", "batches"])
def test_merged_parts_are_the_cache_that_one_machine_builds(batched, teacher, samples, tmp_path):
    dataset = samples.batch(7) if batched else samples
    whole = build(teacher, dataset, tmp_path / "whole")
    for i in range(3):
        part = build(teacher, dataset, tmp_path / "parts", shard=(i, 3))
        assert len(part) == len(range(i, SAMPLES, 3))
    merged = kd.KnowledgeCache.merge(tmp_path / "parts")
    assert files_of(merged.path) == files_of(whole.path)
    assert merged.manifest.content == whole.manifest.content
    assert merged.manifest.blocks == whole.manifest.blocks
    shutil.rmtree(tmp_path / "parts" / "part-00000-of-00003")
    list(kd.KnowledgeCache(tmp_path / "parts").join(dataset))


def test_parts_with_keys_of_their_own_and_views(teacher, samples, tmp_path):
    keyed = samples.enumerate().map(
        lambda i, sample: (kd.Keyed(sample[0], tf.strings.as_string(i * 31)), sample[1])
    )
    augment = lambda x, seed: x + tf.random.stateless_normal((5,), seed)  # noqa: E731
    options = {"views": 2, "augment": augment, "dtype": "float32"}
    for i in range(2):
        build(teacher, keyed.shuffle(20), tmp_path / "c", shard=(i, 2), **options)
    merged = kd.KnowledgeCache.merge(tmp_path / "c")
    assert len(merged) == SAMPLES
    for lesson, _ in merged.join(keyed.shuffle(SAMPLES).batch(9), augment):
        ((teacher_outputs,),) = (tuple(taps.values()) for taps in lesson.teacher_outputs.values())
        np.testing.assert_allclose(teacher_outputs, teacher(lesson.x), rtol=1e-4, atol=1e-5)


def test_a_part_alone_says_that_it_is_one(teacher, samples, tmp_path):
    part = build(teacher, samples, tmp_path / "c", shard=(1, 3))
    keyed = kd.keyed(samples)
    list(part.join(keyed.filter(lambda k, y: k.key % 3 == 1).batch(5)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="It is part 1 of 3: join what Know"):
        list(part.join(keyed.batch(5)))


def test_parts_that_are_missing_unfinished_or_unlike_are_named(teacher, samples, tmp_path):
    path = tmp_path / "c"
    with pytest.raises(FileNotFoundError, match="no parts to merge"):
        kd.KnowledgeCache.merge(path)
    build(teacher, samples, path, shard=(0, 3))
    build(teacher, samples, path, shard=(2, 3))
    with pytest.raises(ValueError, match=r"missing: \[\(1, 3\)\]"):
        kd.KnowledgeCache.merge(path)
    (path / "part-00001-of-00003").mkdir()
    with pytest.raises(ValueError, match=r"unfinished: \['part-00001-of-00003'\]"):
        kd.KnowledgeCache.merge(path)
    build(teacher, samples, path, shard=(1, 3), dtype="float32")
    with pytest.raises(ValueError, match="'part-00001-of-00003' has other dtype than 'part-00000"):
        kd.KnowledgeCache.merge(path)


def test_a_damaged_part_is_named(teacher, samples, tmp_path):
    for i in range(2):
        build(teacher, samples, tmp_path, shard=(i, 2))
    file = tmp_path / "part-00001-of-00002" / "0.teacher.output.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="part-00001-of-00002': rows 0 to 49 of '0.teacher.out"):
        kd.KnowledgeCache.merge(tmp_path)


def test_a_sample_in_two_parts_is_refused(teacher, samples, tmp_path):
    build(teacher, samples, tmp_path / "a", shard=(0, 2))
    build(teacher, samples, tmp_path / "b", shard=(0, 2))
    (tmp_path / "c").mkdir()
    shutil.copytree(tmp_path / "a" / "part-00000-of-00002", tmp_path / "c/part-00000-of-00002")
    shutil.copytree(tmp_path / "b" / "part-00000-of-00002", tmp_path / "c/part-00001-of-00002")
    with pytest.raises(ValueError, match="Received: the key 0 twice"):
        kd.KnowledgeCache.merge(tmp_path / "c")


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_a_shard_that_is_none_is_refused(shard, teacher, samples, tmp_path):
    with pytest.raises(ValueError, match=r"`shard` must be \(i, n\) with i from 0 to n - 1"):
        build(teacher, samples, tmp_path / "c", shard=shard)


WORKER = """
import json, os, sys
ports, index, path = sys.argv[1].split(","), int(sys.argv[2]), sys.argv[3]
workers = [f"localhost:{port}" for port in ports]
task = {"type": "worker", "index": index}
os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
import numpy as np
import keras_kd as kd
from tests import toy
x = np.random.default_rng(0).normal(size=(100, 5)).astype("float32")
data = tf.data.Dataset.from_tensor_slices((x, np.arange(100) % 4))
with strategy.scope():
    kd.KnowledgeCache.build(toy.mlp("teacher"), data, path, verbose=0)
"""


def test_under_a_multi_worker_strategy_each_worker_writes_its_part(teacher, samples, tmp_path):
    ports = ",".join(map(str, free_ports(2)))
    path = tmp_path / "parts"
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, ports, str(i), str(path)]) for i in (0, 1)
    ]
    assert [worker.wait(200) for worker in workers] == [0, 0]
    merged = kd.KnowledgeCache.merge(path)
    whole = build(teacher, samples, tmp_path / "whole")
    assert files_of(merged.path) == files_of(whole.path)


def free_ports(count):
    import socket

    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
