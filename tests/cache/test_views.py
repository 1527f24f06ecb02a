"""Augmented views: student and teacher receive the same pixels, which are not stored."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy
from tests.cache.caches import read_joined

SAMPLES, VIEWS = 20, 3


def augment(x, seed):
    return tf.roll(x, 1, 0) + tf.random.stateless_normal(tf.shape(x), seed)


@pytest.fixture(scope="module")
def samples():
    return tf.data.Dataset.from_tensor_slices(toy.data(SAMPLES))


@pytest.fixture(scope="module")
def teacher():
    return toy.cnn("teacher", 6)


def build(teacher, dataset, path, **kwargs):
    kwargs = {"views": VIEWS, "augment": augment, "dtype": "float32", "verbose": 0, **kwargs}
    return kd.KnowledgeCache.build(teacher, dataset, path, **kwargs)


@pytest.fixture(scope="module")
def cache(teacher, samples, tmp_path_factory):
    return build(teacher, samples, tmp_path_factory.mktemp("views") / "c")


@pytest.mark.parametrize(
    "pipeline",
    [
        lambda d, join: join(d).batch(8),
        lambda d, join: join(kd.keyed(d).shuffle(SAMPLES)).batch(8),
        lambda d, join: join(d.batch(8)),
        lambda d, join: join(kd.keyed(d).shuffle(SAMPLES).repeat(2).batch(7)),
    ],
    ids=["samples", "keyed samples", "batches", "keyed batches"],
)
def test_outputs_belong_to_the_view_of_the_student(pipeline, cache, teacher, samples):
    x, teacher_outputs = read_joined(pipeline(samples, lambda d: cache.join(d, augment)))
    expected = teacher(x, training=False)
    np.testing.assert_allclose(teacher_outputs, expected, rtol=1e-4, atol=1e-5)
    assert len(np.unique(x.reshape(len(x), -1), axis=0)) >= SAMPLES


@pytest.mark.slow
def test_each_epoch_draws_other_views_and_a_seed_repeats_them(cache, samples):
    keyed = kd.keyed(samples).batch(SAMPLES)
    one, other = (cache.join(keyed, augment, seed=5) for _ in range(2))
    epochs = [read_joined(one)[0] for _ in range(25)]
    assert not np.array_equal(epochs[0], epochs[1])
    for epoch in epochs[:2]:
        np.testing.assert_array_equal(epoch, read_joined(other)[0])
    drawn = np.unique(np.concatenate(epochs).reshape(-1, 36), axis=0)
    assert len(drawn) == SAMPLES * VIEWS  # All views are drawn, and no others.


def test_outputs_of_all_views_are_stored_and_no_pixels(cache):
    stored = np.load(cache.path / "0.teacher.output.npy")
    assert stored.shape == (SAMPLES, VIEWS, 4)
    files = {path.name for path in cache.path.glob("*.npy")}
    assert files == {"0.teacher.output.npy", "inputs.npy"}


def test_batches_and_keys_of_their_own(teacher, samples, tmp_path):
    x, y = toy.data(SAMPLES)
    names = np.array([f"n{i}" for i in range(SAMPLES)])
    named = tf.data.Dataset.from_tensor_slices((kd.Keyed(x, names), y)).shuffle(SAMPLES).batch(8)
    cache = build(teacher, named, tmp_path / "c", views=2)
    x, teacher_outputs = read_joined(cache.join(named, augment))
    np.testing.assert_allclose(teacher_outputs, teacher(x, training=False), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_another_seed_or_number_of_views_is_another_cache(teacher, samples, cache):
    manifest = (cache.path / "manifest.json").read_bytes()
    assert len(build(teacher, samples, cache.path)) == SAMPLES
    with pytest.raises(ValueError, match="the path has a cache with other seed"):
        build(teacher, samples, cache.path, seed=1)
    with pytest.raises(ValueError, match="with other views"):
        build(teacher, samples, cache.path, views=2)
    assert (cache.path / "manifest.json").read_bytes() == manifest


def test_an_augmentation_that_ignores_the_seed_is_an_error(teacher, samples, tmp_path):
    generator = tf.random.Generator.from_seed(0)

    def unseeded(x, seed):
        return x + generator.normal(tf.shape(x))

    with pytest.raises(ValueError, match="augmented at random.*a stateless augment"):
        build(teacher, samples, tmp_path / "c", augment=unseeded)


def test_another_augmentation_is_an_error(cache, samples):
    other = cache.join(samples.batch(8), lambda x, seed: augment(x, seed) * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`augment` must be the function"):
        list(other)


def test_views_need_their_augmentation(cache, teacher, samples, tmp_path):
    with pytest.raises(ValueError, match="it has 3 views of each sample, so pass the `augment`"):
        cache.join(samples)
    with pytest.raises(TypeError, match="`augment` must be a function"):
        cache.join(samples, "flip")
    plain = build(teacher, samples, tmp_path / "c", views=1, augment=None)
    with pytest.raises(ValueError, match="built without views, so its samples cannot be augmented"):
        plain.join(samples, augment)
