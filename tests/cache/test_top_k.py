"""Compressed logits: the k largest ones and the mass of the others."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_kd as kd
from keras_kd.cache.top_k import check_top_k, compress_logits, restore_logits
from tests import toy
from tests.cache.caches import read_joined

CLASSES = 300


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(16, CLASSES), scale=3).astype("float32")


def test_the_k_largest_keep_their_probabilities_and_the_others_their_mass(logits):
    full = restore_logits(*compress_logits(logits, 5), CLASSES)
    before, after = (np.asarray(ops.softmax(part)) for part in (logits, full))
    top = np.argsort(-logits, axis=-1)[:, :5]
    np.testing.assert_allclose(
        np.take_along_axis(before, top, -1),
        np.take_along_axis(after, top, -1),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(
        np.take_along_axis(logits, top, -1), np.take_along_axis(full, top, -1)
    )
    rest = np.delete(after[0], top[0])
    np.testing.assert_allclose(rest, rest[0], rtol=1e-6)  # Spread evenly.


def test_golden_numbers():
    values, indices, rest = compress_logits(np.log([[0.1, 0.5, 0.05, 0.3, 0.05]]), 2)
    np.testing.assert_allclose(np.exp(values), [[0.5, 0.3]], rtol=1e-6)
    np.testing.assert_array_equal(indices, [[1, 3]])
    np.testing.assert_allclose(np.exp(rest), [0.2], rtol=1e-6)
    full = restore_logits(values, indices, rest, 5)
    np.testing.assert_allclose(np.exp(full), [[0.2 / 3, 0.5, 0.2 / 3, 0.3, 0.2 / 3]], rtol=1e-6)


def test_all_but_one_keeps_everything(logits):
    full = restore_logits(*compress_logits(logits, CLASSES - 1), CLASSES)
    np.testing.assert_allclose(full, logits, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("k", [1, 5, 19])
def test_of_equal_logits_those_of_the_lower_classes_are_stored(k, dtype):
    logits = np.round(np.random.default_rng(0).normal(size=(8, 3, 20))).astype(dtype)
    order = np.argsort(-logits, axis=-1, kind="stable")[..., :k]
    values, classes, _ = compress_logits(logits, k)
    np.testing.assert_array_equal(classes, order)
    np.testing.assert_array_equal(values, np.take_along_axis(logits, order, -1))


def test_logits_of_dense_prediction():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 9)).astype("float32")
    values, indices, rest = compress_logits(logits, 8)
    assert (values.shape, indices.shape, rest.shape) == ((2, 3, 4, 8), (2, 3, 4, 8), (2, 3, 4))
    np.testing.assert_allclose(
        restore_logits(values, indices, rest, 9), logits, rtol=1e-4, atol=1e-5
    )


def wide(classes, activation=None):
    return toy.mlp("teacher", classes=classes, activation=activation)


def samples():
    x = np.random.default_rng(0).normal(size=(50, 5)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, np.arange(50) % CLASSES))


def test_a_cache_stores_k_logits_and_joins_all_of_them(tmp_path):
    teacher = wide(CLASSES, "softmax")
    options = {"taps": [None, "hidden"], "verbose": 0}
    cache = kd.KnowledgeCache.build(teacher, samples(), tmp_path / "c", top_k=4, **options)
    shapes = {
        path.name: (np.load(path).shape, np.load(path).dtype) for path in cache.path.glob("*.npy")
    }
    assert shapes["0.teacher.output.npy"] == ((50, 4), np.float16)
    assert shapes["0.teacher.output.classes.npy"] == ((50, 4), np.uint16)
    assert shapes["0.teacher.output.rest.npy"] == ((50,), np.float16)
    assert shapes["0.teacher.hidden.npy"] == (
        (50, 8),
        np.float16,
    )  # Hidden taps are not compressed.
    x, logits = read_joined(cache.join(samples().batch(25)))
    probabilities = teacher(x).numpy()
    top = np.argsort(-probabilities, axis=-1)[:, :4]
    np.testing.assert_allclose(
        np.take_along_axis(ops.softmax(logits).numpy(), top, -1),
        np.take_along_axis(probabilities, top, -1),
        rtol=5e-3,
    )


@pytest.mark.parametrize("k", [0, 4, 9])
def test_a_k_that_does_not_fit_is_an_error(k):
    check_top_k(3, (4,), None, "t")
    with pytest.raises(ValueError, match="'t' has 4 classes, so `top_k` must be from 1 to 3"):
        check_top_k(k, (4,), "softmax", "t")


@pytest.mark.parametrize(("classes", "activation"), [(1, None), (4, "sigmoid")])
def test_binary_outputs_are_an_error(classes, activation, tmp_path):
    teacher = wide(classes, activation)
    with pytest.raises(ValueError, match="has binary outputs .* Pass top_k=None"):
        kd.KnowledgeCache.build(teacher, samples(), tmp_path / "c", top_k=1, verbose=0)


@pytest.mark.parametrize(("activation", "outputs"), [(None, "values"), ("tanh", "auto")])
def test_numbers_are_an_error(activation, outputs, tmp_path):
    teacher = kd.Teacher(wide(4, activation), outputs=outputs)
    with pytest.raises(ValueError, match="`top_k` needs the logits of several classes.*numbers"):
        kd.KnowledgeCache.build(teacher, samples(), tmp_path / "c", top_k=2, verbose=0)
