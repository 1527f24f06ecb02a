"""Builds that are stopped, repeated, concurrent, or on a full disk."""

import resource
import shutil

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.cache.builder import block_rows
from keras_kd.cache.writer import lock_folder
from keras_kd.teachers.fingerprint import KINDS
from tests import toy
from tests.cache.caches import BLOCK, ROWS, assert_equal_files, build

#: Runs of a preprocessing before the first batch: of the fingerprint, and on samples together and
#: alone. For each batch it runs twice: in the teacher, and to be compared later.
BEFORE, EACH = KINDS + 2, 2


class Interruption:
    """A preprocessing that raises an error in its last run, and counts its runs."""

    def __init__(self):
        self.runs, self.last = 0, None

    def __call__(self, x):
        return tf.ensure_shape(tf.numpy_function(self.step, [x], x.dtype), x.shape)

    def step(self, x):
        self.runs += 1
        if self.runs == self.last:
            raise RuntimeError("stopped")
        return x


def stop(dataset, path, after):
    """Stop a build after some batches, and return its teacher, which then runs without errors."""
    interruption = Interruption()
    teacher = kd.Teacher(toy.mlp("teacher"), preprocessing=interruption)
    interruption.runs, interruption.last = -BEFORE, EACH * after - 1
    with pytest.raises(tf.errors.UnknownError, match="stopped"):
        build(teacher, dataset, path)
    interruption.runs, interruption.last = 0, None
    return teacher, interruption


def test_a_stopped_build_is_no_cache_and_is_resumed(vectors, whole, tmp_path):
    teacher, interruption = stop(vectors, tmp_path / "c", after=15)
    with pytest.raises(FileNotFoundError, match="its build did not finish. Build again to resume"):
        kd.KnowledgeCache(tmp_path / "c")
    assert len(np.load(tmp_path / "c" / "0.teacher.output.npy")) == 0
    cache = build(teacher, vectors, tmp_path / "c")
    # One block of 4,096 samples was on disk: 8 of the 20 batches and a part of the ninth. The first
    # batch is compared with it.
    assert interruption.runs == BEFORE + 1 + EACH * (20 - BLOCK // 500)
    assert len(cache) == ROWS
    assert_equal_files(cache.path, whole)


def test_a_damaged_block_is_computed_again(vectors, whole, tmp_path):
    teacher, _ = stop(vectors, tmp_path / "c", after=20)
    with (tmp_path / "c" / "0.teacher.output.npy").open("r+b") as file:
        file.seek(256 + 5000 * 8)  # In the second of the two blocks.
        file.write(b"\xff")
    assert_equal_files(build(teacher, vectors, tmp_path / "c").path, whole)


def test_another_build_is_not_resumed(vectors, tmp_path):
    path = tmp_path / "c"
    teacher, _ = stop(vectors, path, after=15)
    with pytest.raises(ValueError, match="an unfinished build there has other dtype"):
        build(teacher, vectors, path, dtype="float32")
    other = vectors.map(lambda x: x + 1)
    with pytest.raises(ValueError, match="has another input for the sample with key 0. Resume it"):
        build(teacher, other, path)
    teacher.model.get_layer("head").bias.assign_add([0, 0, 0, 1])
    with pytest.raises(ValueError, match="has other weights of teacher 'teacher'"):
        build(teacher, vectors, path)
    (path / "building.json").write_text('{"teachers": []}')
    with pytest.raises(ValueError, match="'building.json' is damaged.*Delete the folder"):
        build(teacher, vectors, path)


def test_a_complete_cache_is_opened_and_not_overwritten(mlp, vectors, whole):
    manifest = (whole / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="the path has a cache with other dtype"):
        build(mlp, vectors, whole, dtype="float32")
    with pytest.raises(ValueError, match="differs from the one that the teachers received"):
        build(mlp, vectors.map(lambda x: x + 1), whole)
    with lock_folder(whole):  # It is only read, so it is opened during another build.
        assert len(build(mlp, vectors, whole)) == ROWS
    assert (whole / "manifest.json").read_bytes() == manifest


@pytest.mark.parametrize("how", ["shuffled", "augmented"])
def test_a_data_set_that_changes_is_an_error(how, mlp, vectors, tmp_path):
    vectors = vectors.take(2)
    changing = vectors.unbatch().shuffle(ROWS).batch(500)
    if how == "augmented":
        generator = tf.random.Generator.from_seed(0)
        changing = vectors.map(lambda x: x + generator.normal(tf.shape(x)))
    with pytest.raises(ValueError, match="shuffled, or augmented at random.*pass views="):
        build(mlp, changing, tmp_path / "c")
    assert len(build(mlp, vectors, tmp_path / "c")) == 1000


# 10: among the first samples, which are read in advance; 1000: later.
@pytest.mark.parametrize("count", [10, 1000])
def test_a_duplicate_key_is_an_error(count, mlp, tmp_path):
    x = np.random.default_rng(0).normal(size=(count, 5)).astype("float32")
    keys = np.append(np.arange(count - 1), 3)
    for inputs in (x, np.zeros_like(x)):
        data = tf.data.Dataset.from_tensor_slices((kd.Keyed(inputs, keys),)).batch(100)
        with pytest.raises(ValueError, match="(the key 3 twice|with key 3 has another input)"):
            build(mlp, data, tmp_path / "c")


def test_an_empty_data_set_is_an_error(mlp, vectors, tmp_path):
    with pytest.raises(ValueError, match="no samples"):
        build(mlp, vectors.take(0), tmp_path / "c")


def test_two_builds_at_once_do_not_mix(mlp, vectors, tmp_path):
    data = vectors.take(1)
    with lock_folder(tmp_path), pytest.raises(RuntimeError, match=r"another process \(\d+ on .*\)"):
        build(mlp, data, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]
    assert len(build(mlp, data, tmp_path)) == 500


@pytest.mark.slow
def test_a_full_disk_leaves_an_unfinished_build(mlp, vectors, whole, tmp_path):
    path = tmp_path / "c"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may become larger than this, as on a disk that fills up in the second block.
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        with pytest.raises(OSError, match="writing failed after 4,096 samples .*again to resume"):
            build(mlp, vectors, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(FileNotFoundError, match="its build did not finish"):
        kd.KnowledgeCache(path)
    assert_equal_files(build(mlp, vectors, path).path, whole)


def test_too_small_a_disk_is_an_error_before_a_teacher_runs(vectors, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    interruption = Interruption()
    teacher = kd.Teacher(toy.mlp("teacher"), preprocessing=interruption)
    with pytest.raises(OSError, match=r"take 0.00 GB and the disk has 0.00 GB left"):
        build(teacher, vectors, tmp_path / "c")
    assert interruption.runs == BEFORE


def test_blocks_have_at_most_8_mib():
    assert block_rows(24) == 4096
    assert block_rows(2**20) == 8
    assert block_rows(2**30) == 1
