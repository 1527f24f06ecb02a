"""A reader finds the rows of keys, and never returns those of other samples."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.cache.reader import Reader, check_blocks
from keras_kd.teachers.knowledge import CacheError
from tests.cache.caches import build

NO_VIEWS = np.zeros(3, int)


@pytest.fixture(scope="module")
def keyed_cache(mlp, tmp_path_factory):
    """A cache of 20 samples with descending keys and two views."""
    x = np.random.default_rng(0).normal(size=(20, 5)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((kd.Keyed(x, np.arange(20)[::-1] * 10),))
    augment = lambda x, seed: x + tf.random.stateless_normal((5,), seed)  # noqa: E731
    return build(mlp, data, tmp_path_factory.mktemp("keyed") / "c", views=2, augment=augment)


def reader_of(cache):
    return Reader(cache.path, cache.manifest)


def test_an_index_is_its_own_row(cache):
    reader = reader_of(cache)
    np.testing.assert_array_equal(reader.locate(np.array([5, 0, 99]), NO_VIEWS), [5, 0, 99])
    assert list(reader.values) == ["0.teacher.output.npy", "0.teacher.features.npy"]
    for key in (100, -1):
        with pytest.raises(CacheError, match=f"key {key} is not among its 100 samples"):
            reader.locate(np.array([0, key]), NO_VIEWS[:2])


def test_keys_of_any_order_are_found(keyed_cache):
    reader = reader_of(keyed_cache)
    rows = reader.locate(np.array([190, 0, 100]), np.array([0, 1, 1]))
    np.testing.assert_array_equal(rows, [0, 39, 19])
    assert reader.values["0.teacher.output.npy"].shape == (40, 4)
    for key in (5, 200):
        with pytest.raises(CacheError, match="another data set or other keys"):
            reader.locate(np.array([key]), np.array([0]))


def test_inputs_are_compared_with_their_digests(cache, keyed_cache):
    reader = reader_of(cache)
    keys = np.array([5, 0, 99])
    digests = reader.digests[keys]
    reader.check_inputs(keys, NO_VIEWS, digests)
    with pytest.raises(CacheError, match="the sample with key 99 differs.* `views` and `augment`"):
        reader.check_inputs(keys, NO_VIEWS, digests + np.array([0, 0, 1]))
    with pytest.raises(CacheError, match="`augment` must be the function"):
        reader_of(keyed_cache).check_inputs(np.array([0]), np.array([0]), np.array([1]))


def test_a_flipped_bit_is_found_and_its_rows_are_named(copy, vectors):
    path = copy / "0.teacher.output.npy"
    content = bytearray(path.read_bytes())
    content[256 + 8 * 5000] ^= 1
    path.write_bytes(content)
    cache = kd.KnowledgeCache(copy)
    rows = "rows 4096 to 8191 of '0.teacher.output.npy' do not match their checksum"
    with pytest.raises(CacheError, match=rows):
        check_blocks(copy, cache.manifest)
    with pytest.raises(CacheError, match=rows):
        cache.join(vectors)
    cache.join(vectors, verify=False)


def test_a_truncated_file_is_named(copy):
    path = copy / "inputs.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CacheError, match=r"'inputs.npy' must have 80,256 bytes. Received: 80,248"):
        kd.KnowledgeCache(copy)
