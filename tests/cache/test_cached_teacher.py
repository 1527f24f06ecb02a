"""Teachers of a cache stand in for their models, and report what the cache does not have."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from keras_kd.models.taps import Tap
from tests import toy
from tests.cache.caches import build

OUTPUT = Tap(None, logits=True)


def fit(teachers, dataset, losses=None):
    distiller = kd.Distiller(toy.cnn("student"), teachers, losses)
    distiller.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    return distiller.fit(dataset, verbose=0).history


def test_it_describes_its_model(cnn, cache):
    (teacher,) = cache.teachers
    live = kd.Teacher(cnn)
    assert isinstance(teacher, kd.Teacher)
    assert (teacher.name, teacher.classes) == ("teacher", None)
    assert teacher.parameters == cnn.count_params()
    spec = tf.TensorSpec((None, 6, 6, 1))
    assert teacher.fingerprint(spec) == live.fingerprint(spec)
    taps = [OUTPUT, Tap("features")]
    one, other = teacher.watch(taps), live.watch(taps)
    assert (one.shapes, one.activations) == (other.shapes, other.activations)


def test_it_needs_joined_data(samples, cache, tmp_path):
    with pytest.raises(ValueError, match="cache.join"):
        fit(cache.teachers, samples.batch(50))
    with pytest.raises(ValueError, match="has no model; its outputs are stored in '.*cache.join"):
        cache.teachers[0].watch([OUTPUT])(toy.data()[0])
    with pytest.raises(ValueError, match="teachers of a cache have no model"):
        build(cache.teachers, samples, tmp_path / "d")


def test_a_tap_that_was_not_stored_is_named(samples, cnn, cache):
    hint = kd.losses.Hint("conv", "conv")
    missing = "of teacher 'teacher' it holds the output, 'features', and not 'conv'"
    with pytest.raises(ValueError, match=missing):
        kd.Distiller(toy.cnn("student"), cache.teachers, hint)
    with pytest.raises(ValueError, match=f"{missing}. Build it with `taps`"):
        fit(cnn, cache.join(samples.batch(50)), hint)


@pytest.mark.slow
def test_a_live_teacher_that_changed_is_an_error_that_names_the_change(samples, tmp_path):
    def clipped(limit, model=None):
        model = toy.cnn("teacher", 6) if model is None else model
        return kd.Teacher(model, preprocessing=lambda x: ops.clip(x, -limit, limit))

    joined = build(clipped(1.0), samples, tmp_path / "c").join(samples.batch(50))
    assert "soft_targets" in fit(clipped(1.0), joined)
    plain = kd.Teacher(clipped(1.0).model, preprocessing=lambda x: x * 1.0)
    for other in (clipped(2.0), plain):  # Equal for samples between 0 and 1.
        with pytest.raises(ValueError, match="teacher 'teacher' is not .* its preprocessing chang"):
            fit(other, joined)
    trained = clipped(1.0)
    trained.model.get_layer("logits").bias.assign_add([0.0, 0.0, 0.0, 1e-6])
    with pytest.raises(ValueError, match="its weights changed"):
        fit(trained, joined)
    with pytest.raises(ValueError, match="its weights and config changed"):
        fit(clipped(1.0, toy.cnn("teacher", 7)), joined)


def hidden(end, units):
    keras.utils.set_random_seed(3)
    flat = [keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(units), layers.Lambda(end)]
    return keras.Sequential(flat, name="hidden")


BINARY = keras.losses.BinaryCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    ("teacher", "units", "loss", "compiled"),
    [
        (
            lambda: kd.Teacher(toy.cnn("t", classes=5, seed=1), classes=[None, 2, 0, None, 1]),
            3,
            "soft_targets",
            None,
        ),
        (
            lambda: kd.Teacher(toy.cnn("t", classes=5, seed=1), classes=[None, 2, 0, None, None]),
            3,
            "soft_targets",
            None,
        ),
        (lambda: toy.cnn("t", classes=1, seed=1, activation="sigmoid"), 2, "dist", None),
        (lambda: toy.cnn("t", classes=2, seed=1, activation="softmax"), 1, "soft_targets", BINARY),
        (lambda: toy.cnn("t", classes=2, seed=1, activation="tanh"), 2, None, "mse"),
        (
            lambda: kd.Teacher(hidden(ops.sigmoid, 3), outputs="probabilities"),
            3,
            "outputs_mse",
            BINARY,
        ),
        (
            lambda: kd.Teacher(hidden(ops.softmax, 3), outputs="probabilities"),
            3,
            "soft_targets",
            None,
        ),
    ],
    ids=["all classes", "some", "one to two", "two to one", "tanh", "hidden sigmoid", "softmax"],
)
def test_a_cached_teacher_is_read_as_the_live_one(teacher, units, loss, compiled, tmp_path):
    x, y = toy.data(16)
    y = (y[:, None] % 2 * np.ones(units)).astype("float32") if compiled else y % units
    samples, live = tf.data.Dataset.from_tensor_slices((x, y)), teacher()
    data = samples.batch(8)
    cache = kd.KnowledgeCache.build(live, samples, tmp_path / "c", dtype="float32", verbose=0)
    values = []
    for teachers, batches in ((live, data), (cache.teachers, cache.join(data))):
        distiller = kd.Distiller(toy.cnn("student", classes=units), teachers, loss)
        distiller.compile(keras.optimizers.SGD(0.0), compiled, run_eagerly=True)
        values.append(distiller.fit(batches, verbose=0).history)
    assert list(values[0]) == list(values[1])
    for name, value in values[0].items():
        np.testing.assert_allclose(values[1][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
