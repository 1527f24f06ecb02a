"""A class that learns from knowledge on disk: no teacher runs, the weights are the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from tests import toy

CACHES = {"dtype": "float32", "verbose": 0, "batch_size": 8}


def teacher_model(seed=1):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6,))
    x = layers.Dense(8, activation="relu", name="features")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="teacher")


def small(size):
    hidden = [layers.Dense(5, "relu"), layers.Dropout(0.3)]
    return keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(size)])


def samples():
    x = np.random.default_rng(0).normal(size=(24, 6)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, np.zeros(24), np.linspace(0, 2, 24)))


def cache_of(teacher, folder, taps=("features",)):
    return kd.KnowledgeCache.build(teacher, samples(), folder, taps=list(taps), **CACHES)


def trained(teacher, data, **kwargs):
    keras.utils.set_random_seed(3)
    model = kd.TeacherClass(teacher, kwargs.pop("layer", "features"), small, n=2, **kwargs)
    model.compile(keras.optimizers.Adam(0.01))
    history = model.fit(data, epochs=2, validation_data=data, verbose=0)
    return model, history.history


def test_a_cache_gives_the_weights_of_the_live_teacher_and_runs_none(tmp_path):
    teacher, counter = toy.counted(teacher_model())
    start, layer = int(counter.count), {"layer": "teacher/features"}
    cache = cache_of(teacher, tmp_path / "cache", ["teacher/features"])
    live, live_history = trained(teacher, samples().batch(8), **layer)
    assert int(counter.count) > start
    counter.count.assign(start)  # It is a weight, and the cache is of the teacher that had these.
    for given in (teacher, cache.teachers[0]):
        model, history = trained(given, cache.join(samples().batch(8)), **layer)
        assert history == live_history
        for ours, theirs in zip(model.get_weights(), live.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert int(counter.count) == start


def test_a_teacher_on_disk_teaches_and_the_live_one_assembles(tmp_path):
    teacher = teacher_model()
    cache = cache_of(teacher, tmp_path / "cache")
    model, _ = trained(cache.teachers[0], cache.join(samples().batch(8)))
    with pytest.raises(ValueError, match=r"'teacher' is only on disk.*`set_teacher\(model\)`"):
        model.assemble()
    with pytest.raises(ValueError, match=r"only on disk.*Pass `cache.join\(dataset\)`"):
        model.fit(samples().batch(8), verbose=0)
    with pytest.raises(ValueError, match=r"only on disk.*Pass `cache.join\(dataset\)`"):
        model.evaluate(np.zeros((4, 6), "float32"), verbose=0)
    model.set_teacher(teacher)
    x = np.ones((4, 6), "float32")
    teacher_outputs = np.maximum(np.concatenate(model.predict(x, verbose=0), axis=-1), 0)
    np.testing.assert_allclose(model.assemble(head=None)(x), teacher_outputs, rtol=1e-5, atol=1e-6)


def test_means_and_correlations_are_taken_from_the_cache_too(tmp_path):
    teacher = teacher_model()
    cache = cache_of(teacher, tmp_path / "cache")
    joined = cache.join(samples().batch(8))
    chunks = [
        kd.TeacherClass(given, "features", small, n=2, split="correlated", data=data).chunks
        for given, data in ((teacher, samples().batch(8)), (cache.teachers[0], joined))
    ]
    assert chunks[0] == chunks[1]


def test_what_the_cache_does_not_hold_is_refused_before_training(tmp_path):
    cache = cache_of(teacher_model(), tmp_path / "cache")
    joined = cache.join(samples().batch(8))
    with pytest.raises(ValueError, match="weights changed"):
        trained(teacher_model(seed=2), joined)
    with pytest.raises(ValueError, match="holds 'features', and not 'logits'"):
        trained(teacher_model(), joined, layer="logits")
    with pytest.raises(ValueError, match="holds 'features', and not 'logits'"):
        trained(cache.teachers[0], joined, layer="logits")
    for given in (teacher_model(), cache.teachers[0]):
        with pytest.raises(ValueError, match="before its activation.*without a cache"):
            trained(given, joined, mimic="preactivation")
