"""Running a .tflite file: inputs, signatures, and files that are not models."""

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.export import benchmark, evaluate
from keras_kd.litert.interpreter import LiteRT, check_shapes, read_tflite
from tests.export import models


@pytest.fixture(scope="module")
def content():
    return models.content(models.cnn)


@pytest.fixture(scope="module")
def runner(content):
    with LiteRT(content, "test", keep_tensors=True) as opened:
        yield opened


def test_inputs_and_outputs_are_described(runner):
    assert runner.inputs == {"input_0": ((1, 8, 8, 1), np.dtype("float32"))}
    assert (runner.outputs, runner.batch_size) == (("logits",), 1)
    assert runner.output_shapes == {"logits": (1, 10)}


def test_inputs_of_another_float_dtype_are_cast(runner):
    values = runner.run(models.IMAGES)["logits"]
    doubles = runner.run(models.IMAGES.astype("float64"))["logits"]
    np.testing.assert_array_equal(values, doubles)


def test_tensors_of_the_last_run_can_be_read(runner):
    values = runner.run(models.IMAGES[:1])["logits"]
    name = runner.output_tensors["logits"]
    np.testing.assert_array_equal(runner.tensors([name])[name], values)


def test_samples_of_another_shape_are_rejected(runner):
    with pytest.raises(ValueError, match=r"batches of shape \(None, 8, 8, 1\). Received: shape"):
        runner.run(models.IMAGES[0])
    with pytest.raises(ValueError, match="Expected at least one sample"):
        runner.run(models.IMAGES[:0])


def test_a_missing_input_is_named():
    with (
        LiteRT(models.content(models.two_in_two_out), "test", inputs=("b", "a")) as runner,
        pytest.raises(ValueError, match=r"Expected inputs \['b', 'a'\]. .*that has \['a'\]"),
    ):
        runner.run({"b": models.PAIR[0]})


def test_inputs_need_the_same_number_of_samples():
    arrays = {"a": np.zeros((2, 3)), "b": np.zeros((1, 4))}
    with pytest.raises(ValueError, match="the same number of samples for each input"):
        check_shapes(arrays, {"a": (None, 3), "b": (None, 4)})


def test_an_unknown_signature_is_rejected(content):
    with pytest.raises(
        ValueError, match=r"signature of test: \['serving_default'\]. Received: 'x'"
    ):
        LiteRT(content, "test", signature="x")


def test_a_file_that_does_not_exist_is_rejected(tmp_path):
    for call in (lambda path: evaluate(path, []), benchmark, read_tflite):
        with pytest.raises(FileNotFoundError, match=r"path of a .tflite file.*is not a file"):
            call(tmp_path / "none.tflite")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_of_a_keras_model_is_rejected(suffix):
    with pytest.raises(ValueError, match="a file of a Keras model. Load it with .*to_tflite"):
        read_tflite(f"model{suffix}")


def test_anything_but_a_path_is_rejected():
    model = models.cnn()
    for call in (lambda path: evaluate(path, []), benchmark, kd.Teacher.from_tflite, read_tflite):
        with pytest.raises(TypeError, match=r"its path, or what .*type Sequential.*to_tflite\("):
            call(model)
    with pytest.raises(TypeError, match="type NoneType"):
        read_tflite(None)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_another_kind_of_file_is_rejected(tmp_path, content):
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected a .tflite .*bad.tflite"):
        read_tflite(path)


def test_a_damaged_file_is_rejected(tmp_path, content):
    path = tmp_path / "bad.tflite"
    path.write_bytes(content[: len(content) // 2])
    for call in (lambda path: evaluate(path, []), benchmark):
        with pytest.raises(ValueError, match=r"Expected a .tflite .*bad.tflite"):
            call(path)


def test_a_file_cut_anywhere_is_rejected(content):
    for size in np.linspace(100, len(content) - 100, 3).astype(int):
        with pytest.raises(ValueError, match="Expected a .tflite model"):
            LiteRT(content[:size], "bad")
    random = np.random.default_rng(0).bytes(3000)
    with pytest.raises(ValueError, match="Expected a .tflite model"):
        LiteRT(random[:4] + b"TFL3" + random[8:], "bad")


def test_a_name_that_is_not_text_is_rejected(content):
    damaged = content.replace(b"serving_default\x00", b"\xff\xfe\xfd\xfc\xfb_default\x00")
    assert damaged != content
    with pytest.raises(ValueError, match="Expected a .tflite model"):
        LiteRT(damaged.replace(b"input_0", b"\xff\xfe\xfd_0"), "bad")
