"""Augmented views: student and teacher see the same pixels, and none of them is stored."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy

SAMPLES, VIEWS = 40, 3


def augment(x, seed):
    x = tf.image.stateless_random_flip_left_right(x, seed)
    x = x + tf.random.stateless_normal(tf.shape(x), seed)
    return tf.image.stateless_random_crop(tf.pad(x, [[1, 1], [1, 1], [0, 0]]), (6, 6, 1), seed)


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


def seen_in(joined):
    """The views of an epoch, and what the teacher said of them."""
    batches = list(joined)
    x = np.concatenate([lesson.x for lesson, _ in batches])
    teacher_outputs = [
        next(iter(next(iter(lesson.teacher_outputs.values())).values())) for lesson, _ in batches
    ]
    return x, np.concatenate(teacher_outputs)


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
def test_the_knowledge_is_that_of_the_view_the_student_sees(pipeline, cache, teacher, samples):
    x, teacher_outputs = seen_in(pipeline(samples, lambda d: cache.join(d, augment)))
    expected = teacher(x, training=False)
    np.testing.assert_allclose(teacher_outputs, expected, rtol=1e-4, atol=1e-5)
    assert len(np.unique(x.reshape(len(x), -1), axis=0)) >= SAMPLES


def test_each_epoch_draws_anew_and_a_seed_repeats_the_draws(cache, samples):
    keyed = kd.keyed(samples).batch(8)
    one, other = (cache.join(keyed, augment, seed=5) for _ in range(2))
    first, second = seen_in(one)[0], seen_in(one)[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, seen_in(other)[0])
    np.testing.assert_array_equal(second, seen_in(other)[0])
    drawn = np.unique(np.concatenate([seen_in(one)[0] for _ in range(30)]).reshape(-1, 36), axis=0)
    assert len(drawn) == SAMPLES * VIEWS  # All views come up, and no others.


def test_on_disk_are_the_views_of_each_sample_and_no_pixels(cache):
    stored = np.load(cache.path / "0.teacher.output.npy")
    assert stored.shape == (SAMPLES, VIEWS, 4)
    files = {path.name for path in cache.path.glob("*.npy")}
    assert files == {"0.teacher.output.npy", "inputs.npy"}


def test_a_distiller_learns_from_views(cache, samples):
    distiller = kd.Distiller(toy.cnn("student"), cache.teachers)
    distiller.compile("sgd", toy.sparse_loss())
    data = cache.join(kd.keyed(samples).shuffle(SAMPLES).batch(8), augment)
    losses = distiller.fit(data, epochs=3, verbose=0).history["soft_targets"]
    assert np.isfinite(losses).all()


def test_batches_and_keys_of_their_own(teacher, samples, tmp_path):
    x, y = toy.data(SAMPLES)
    names = np.array([f"n{i}" for i in range(SAMPLES)])
    named = tf.data.Dataset.from_tensor_slices((kd.Keyed(x, names), y)).shuffle(SAMPLES).batch(8)
    cache = build(teacher, named, tmp_path / "c", views=2)
    x, teacher_outputs = seen_in(cache.join(named, augment))
    np.testing.assert_allclose(teacher_outputs, teacher(x, training=False), rtol=1e-4, atol=1e-5)


def test_a_build_of_views_goes_on(teacher, samples, cache, tmp_path):
    path = tmp_path / "c"
    build(teacher, samples, path)
    manifest = (path / "manifest.json").read_bytes()
    build(teacher, samples, path)
    assert (path / "manifest.json").read_bytes() == manifest
    with pytest.raises(ValueError, match="there is a cache already, with other seed"):
        build(teacher, samples, path, seed=1)
    with pytest.raises(ValueError, match="with other views"):
        build(teacher, samples, path, views=2)


def test_an_augmentation_with_a_will_of_its_own_is_refused(teacher, samples, tmp_path):
    generator = tf.random.Generator.from_seed(0)

    def willful(x, seed):
        return x + generator.normal(tf.shape(x))

    with pytest.raises(ValueError, match="augmented at random.*a stateless augment"):
        build(teacher, samples, tmp_path / "c", augment=willful)


def test_another_augmentation_is_refused(cache, samples):
    other = cache.join(samples.batch(8), lambda x, seed: augment(x, seed) * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`augment` must be the function"):
        list(other)


def test_views_and_augment_come_together(cache, teacher, samples, tmp_path):
    with pytest.raises(ValueError, match="holds 3 views of each sample, so pass the `augment`"):
        cache.join(samples)
    with pytest.raises(TypeError, match="`augment` must be a function"):
        cache.join(samples, "flip")
    plain = build(teacher, samples, tmp_path / "c", views=1, augment=None)
    with pytest.raises(ValueError, match="built without views, so the samples cannot be augment"):
        plain.join(samples, augment)
    for arguments in ({"views": 2, "augment": None}, {"views": 1}):
        with pytest.raises(ValueError, match="several `views` are made by `augment`"):
            build(teacher, samples, tmp_path / "d", **arguments)
    with pytest.raises(ValueError, match="`views` must be at least 1"):
        build(teacher, samples, tmp_path / "d", views=0)
