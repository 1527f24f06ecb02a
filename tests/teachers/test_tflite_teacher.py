"""A teacher in a .tflite file: its logits, what it refuses, how it teaches."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_kd as kd
from keras_kd.models.taps import Tap
from tests import toy

OUTPUT = Tap(None, logits=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Makes a file of a model: files(model, quantization)."""
    folder = tmp_path_factory.mktemp("tflite")

    def make(model, quantization="float32", batch_size=None):
        path = folder / f"{model.name}_{quantization}_{batch_size}.tflite"
        if not path.exists():
            x, _ = toy.data(64)
            kd.export.to_tflite(
                model, path, quantization, x, batch_size=batch_size, max_drop=100.0, tolerance=100.0
            )
        return path

    return make


@pytest.mark.parametrize("batch_size", [None, 1, 20])
def test_its_logits_are_the_models(files, batch_size):
    model, (x, _) = toy.cnn("plain", 6), toy.data(30)
    teacher = kd.Teacher.from_tflite(files(model, batch_size=batch_size))
    teacher_outputs = teacher.watch([OUTPUT])(x)[OUTPUT]
    np.testing.assert_allclose(teacher_outputs, model(x, training=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", ["softmax", "sigmoid"])
def test_logits_are_recovered_from_float_probabilities(files, ending):
    model, (x, _) = toy.cnn(ending, 6, activation=ending), toy.data()
    watched = kd.Teacher.from_tflite(files(model)).watch([OUTPUT])
    assert watched.activations[OUTPUT] == ending
    again = getattr(ops, ending)(watched(x)[OUTPUT])
    np.testing.assert_allclose(again, model(x, training=False), rtol=1e-4)


def test_int8_logits_are_near_the_models(files):
    model, (x, _) = toy.cnn("plain", 6), toy.data()
    teacher_outputs = kd.Teacher.from_tflite(files(model, "int8")).watch([OUTPUT])(x)[OUTPUT]
    expected = model(x, training=False).numpy()
    assert teacher_outputs.dtype == tf.float32
    np.testing.assert_allclose(teacher_outputs, expected, atol=0.05 * np.ptp(expected))


def test_an_int8_softmax_is_refused(files):
    teacher = kd.Teacher.from_tflite(files(toy.cnn("ended", 6, activation="softmax"), "int8"))
    with pytest.raises(ValueError, match="softmax of 256 levels.*Export the model without"):
        kd.Distiller(toy.cnn("student"), teacher)


def test_hidden_taps_and_wrong_declarations_are_refused(files):
    path = files(toy.cnn("plain", 6))
    with pytest.raises(ValueError, match=r"shows nothing but its outputs \['logits'\]"):
        kd.Distiller(
            toy.cnn("s"), kd.Teacher.from_tflite(path), kd.losses.Hint("features", "features")
        )
    with pytest.raises(ValueError, match="said to give probabilities, but .* FULLY_CONNECTED"):
        kd.Teacher.from_tflite(path, outputs="probabilities").watch([OUTPUT])
    with pytest.raises(ValueError, match="`outputs` must be one of"):
        kd.Teacher.from_tflite(path, outputs="odds")
    with pytest.raises(FileNotFoundError):
        kd.Teacher.from_tflite(path.with_name("none.tflite"))
    with pytest.raises(ValueError, match="is a .tflite file, which shows no layers"):
        kd.TeacherClass(kd.Teacher.from_tflite(path), "features", [toy.cnn("s", classes=8)])


def test_a_student_learns_from_it_live(files):
    (x, y), model = toy.data(), toy.cnn("plain", 6)
    histories = []
    for teacher in (model, kd.Teacher.from_tflite(files(model))):
        distiller = kd.Distiller(toy.cnn("student"), teacher)
        distiller.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), metrics=["accuracy"])
        histories.append(distiller.fit(x, y, epochs=2, shuffle=False, verbose=0).history)
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4)


def test_xla_stays_away(files):
    distiller = kd.Distiller(toy.cnn("student"), kd.Teacher.from_tflite(files(toy.cnn("plain", 6))))
    with pytest.warns(UserWarning, match="Proceeding with `jit_compile=False`"):
        distiller.compile("sgd", toy.sparse_loss(), jit_compile=True)
    distiller.fit(*toy.data(), verbose=0)
    distiller.set_teachers(toy.cnn("plain", 6))
    assert distiller.supports_jit


def test_a_cache_is_built_from_it(files, tmp_path):
    x, y = toy.data(40)
    samples = tf.data.Dataset.from_tensor_slices((x, y))
    path = files(toy.cnn("plain", 6), "int8")
    teacher = kd.Teacher.from_tflite(path, preprocessing=lambda x: x / 2, name="small")
    cache = kd.KnowledgeCache.build(teacher, samples, tmp_path / "c", dtype="float32", verbose=0)
    stored = np.load(tmp_path / "c" / "0.small.output.npy")
    np.testing.assert_array_equal(stored, teacher.watch([OUTPUT])(x)[OUTPUT])
    distiller = kd.Distiller(toy.cnn("student"), teacher)
    distiller.compile("sgd", toy.sparse_loss())
    distiller.fit(cache.join(samples.batch(10)), verbose=0)
    distiller.summary()
    other = kd.Teacher.from_tflite(
        files(toy.cnn("plain", 6)), preprocessing=lambda x: x / 2, name="small"
    )
    distiller.set_teachers(other)
    with pytest.raises(ValueError, match="its weights changed"):
        distiller.fit(cache.join(samples.batch(10)), verbose=0)
