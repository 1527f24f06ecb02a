"""LiteRT at work: quantized ends, and files that are none."""

import signal

import numpy as np
import pytest
import tensorflow as tf

from keras_kd.export import benchmark, evaluate, to_tflite
from keras_kd.litert import process
from keras_kd.litert.flatbuffer import flex_ops
from keras_kd.litert.interpreter import LiteRT, read
from tests.export import models

DATA = [(models.IMAGES, np.zeros(40, "int64"))]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "m.tflite"
    to_tflite(models.cnn(), path)
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_integer_ends_are_quantized_and_dequantized(dtype):
    model = models.cnn()
    module = tf.Module()
    module.weights = [v.value for v in model.variables]
    specs = {"x": tf.TensorSpec((1, 8, 8, 1), name="x")}
    function = tf.function(lambda x: {"y": model(x)}).get_concrete_function(**specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ({"x": x[None]} for x in models.IMAGES)
    converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(dtype)
    runner = LiteRT(converter.convert(), "test")
    assert runner.inputs["x"] == ((1, 8, 8, 1), np.dtype(dtype))
    values = runner.run(models.IMAGES)["y"]
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, model.predict_on_batch(models.IMAGES), atol=0.1)


def test_a_file_without_flex_ops_says_so(content):
    assert flex_ops(content) == []


def test_inputs_of_another_float_type_are_taken(content):
    values = LiteRT(content, "test").run(models.IMAGES)
    doubles = LiteRT(content, "test").run(models.IMAGES.astype("float64"))
    for name, value in values.items():
        np.testing.assert_array_equal(value, doubles[name])


def test_samples_of_another_shape_are_refused(content):
    with pytest.raises(ValueError, match=r"batches of shape \(None, 8, 8, 1\). Received: shape"):
        LiteRT(content, "test").run(models.IMAGES[0])


def test_a_file_that_does_not_exist_is_refused(tmp_path):
    for call in (lambda p: evaluate(p, DATA), benchmark, read):
        with pytest.raises(FileNotFoundError, match=r"path of a .tflite file.*which is no file"):
            call(tmp_path / "none.tflite")


@pytest.mark.parametrize("kind", ["empty", "text", "random", "marked", "half", "cut"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content, kind):
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.tflite"
    path.write_bytes(
        {
            "empty": b"",
            "text": b"<html>not found</html>",
            "random": rng.bytes(3000),
            "marked": rng.bytes(4) + b"TFL3" + rng.bytes(3000),
            "half": content[: len(content) // 2],
            "cut": content[:-100],
        }[kind]
    )
    for call in (lambda p: evaluate(p, DATA), benchmark):
        with pytest.raises(ValueError, match=r"Expected a .tflite .*bad.tflite"):
            call(path)


def test_a_damaged_name_is_a_damaged_file(content):
    bad = content.replace(b"serving_default\x00", b"\xff\xfe\xfd\xfc\xfb_default\x00")
    assert bad != content
    with pytest.raises(ValueError, match="Expected a .tflite model"):
        LiteRT(bad.replace(b"input_layer", b"\xff\xfe\xfd\xfc\xfblayer_"), "bad")


def test_files_cut_anywhere_do_not_end_the_process(content):
    for size in np.linspace(100, len(content) - 100, 12).astype(int):
        with pytest.raises(ValueError, match="Expected a .tflite model"):
            LiteRT(content[:size], "bad")


def test_litert_ends_with_its_object(content):
    with LiteRT(content, "test") as runner:
        process = runner._process._process
        assert process.poll() is None
    assert process.poll() is not None
    forgotten = LiteRT(content, "test")
    process = forgotten._process._process
    del forgotten
    assert process.poll() is not None


def test_what_ends_litert_is_an_error_that_says_how(content):
    with LiteRT(content, "'m.tflite'") as runner:
        runner._process._process.send_signal(signal.SIGSEGV)
        with pytest.raises(RuntimeError, match=r"'m.tflite', over which LiteRT ended .* SIGSEGV"):
            runner.run(models.IMAGES)


def test_what_never_ends_is_ended(content, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE", 1.0)
    with LiteRT(content, "'m.tflite'") as runner:
        runner.run(models.IMAGES)
        with pytest.raises(RuntimeError, match="LiteRT did not come to an end in 1 seconds"):
            runner.time(10**9, 60)


def test_an_unknown_signature_is_answered_with_the_known(content):
    with pytest.raises(
        ValueError, match=r"signature of test: \['serving_default'\]. Received: 'x'"
    ):
        LiteRT(content, "test", signature="x")
