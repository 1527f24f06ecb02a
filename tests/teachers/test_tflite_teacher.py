"""A teacher in a .tflite file: its logits, its errors, training with it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from keras_kd.models.taps import Tap
from tests import toy

OUTPUT = Tap(None, logits=True)
X, Y = toy.data(30)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """A function that exports a model, each file once."""
    folder = tmp_path_factory.mktemp("tflite")

    def run(model, quantization="float32", batch_size=None):
        path = folder / f"{model.name}_{quantization}_{batch_size}.tflite"
        if not path.exists():
            x, _ = toy.data(64)
            kd.export.to_tflite(
                model, path, quantization, x, batch_size=batch_size, max_drop=100.0, tolerance=100.0
            )
        return path

    return run


@pytest.fixture(scope="module")
def plain():
    return toy.cnn("plain", 6)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 20])
def test_its_logits_are_those_of_the_model(batch_size, plain, export):
    teacher = kd.Teacher.from_tflite(export(plain, batch_size=batch_size))
    assert isinstance(teacher, kd.Teacher)
    assert 0 < teacher.parameters <= plain.count_params()
    assert teacher.inputs.shapes == [(None, 6, 6, 1)]
    logits = teacher.watch([OUTPUT])(X)[OUTPUT]
    np.testing.assert_allclose(logits, plain(X, training=False), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_logits_are_recovered_from_float_probabilities(export):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = layers.Flatten()(inputs)
    outputs = {
        name: layers.Dense(4, activation=name, name=name)(x) for name in ("softmax", "sigmoid")
    }
    model = keras.Model(inputs, outputs, name="probabilities")
    taps = {name: Tap(name, logits=True) for name in outputs}
    watched = kd.Teacher.from_tflite(export(model)).watch(list(taps.values()))
    expected, found = model(X, training=False), watched(X)
    for name, tap in taps.items():
        assert watched.activations[tap] == name
        again = getattr(ops, name)(found[tap])
        np.testing.assert_allclose(again, expected[name], rtol=1e-4)


def test_int8_logits_are_close_to_those_of_the_model(plain, export):
    logits = kd.Teacher.from_tflite(export(plain, "int8")).watch([OUTPUT])(X)[OUTPUT]
    expected = plain(X, training=False).numpy()
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.ptp(expected))


@pytest.mark.slow
def test_an_int8_softmax_is_an_error(export):
    teacher = kd.Teacher.from_tflite(export(toy.cnn("ended", 6, activation="softmax"), "int8"))
    with pytest.raises(ValueError, match="softmax with 256 levels.*Export the model without"):
        teacher.watch([OUTPUT])


def test_hidden_taps_and_wrong_declarations_are_errors(plain, export):
    path = export(plain)
    teacher = kd.Teacher.from_tflite(path)
    with pytest.raises(ValueError, match=r"only the outputs \['logits'\] can be tapped"):
        teacher.watch([Tap("features")])
    with pytest.raises(ValueError, match="declared to return probabilities, .* FULLY_CONNECTED"):
        kd.Teacher.from_tflite(path, outputs="probabilities").watch([OUTPUT])
    with pytest.raises(ValueError, match="`outputs` must be one of"):
        kd.Teacher.from_tflite(path, outputs="odds")
    with pytest.raises(FileNotFoundError):
        kd.Teacher.from_tflite(path.with_name("none.tflite"))
    with pytest.raises(ValueError, match="is a .tflite file"):
        kd.TeacherClass(teacher, "features", [toy.cnn("s", classes=8)])


@pytest.mark.slow
def test_training_with_it_is_like_training_with_the_model(plain, export):
    histories = []
    for teacher in (plain, kd.Teacher.from_tflite(export(plain))):
        distiller = kd.Distiller(toy.cnn("student"), teacher)
        distiller.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), metrics=["accuracy"])
        histories.append(distiller.fit(X, Y, epochs=2, shuffle=False, verbose=0).history)
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4)


def test_the_number_of_threads_must_be_positive(plain, export):
    with pytest.raises(ValueError, match="`threads` must be at least 1.*Received: threads=0"):
        kd.Teacher.from_tflite(export(plain), threads=0)


def test_xla_is_not_used(plain, export):
    distiller = kd.Distiller(toy.cnn("student"), kd.Teacher.from_tflite(export(plain)))
    with pytest.warns(UserWarning, match="Proceeding with `jit_compile=False`"):
        distiller.compile("sgd", toy.sparse_loss(), jit_compile=True)
    assert not distiller.jit_compile
    distiller.set_teachers(plain)
    assert distiller.supports_jit


@pytest.mark.slow
def test_a_cache_is_built_from_it(plain, export, tmp_path):
    samples = tf.data.Dataset.from_tensor_slices((X, Y))
    options = {"preprocessing": lambda x: x / 2, "name": "small"}
    teacher = kd.Teacher.from_tflite(export(plain, "int8"), **options)
    cache = kd.KnowledgeCache.build(teacher, samples, tmp_path / "c", dtype="float32", verbose=0)
    stored = np.load(tmp_path / "c" / "0.small.output.npy")
    np.testing.assert_array_equal(stored, teacher.watch([OUTPUT])(X)[OUTPUT])
    distiller = kd.Distiller(toy.cnn("student"), teacher)
    distiller.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    joined = cache.join(samples.batch(10))
    distiller.fit(joined, verbose=0)
    distiller.set_teachers(kd.Teacher.from_tflite(export(plain), **options))
    with pytest.raises(ValueError, match="its weights changed"):
        distiller.fit(joined, verbose=0)
