"""TensorFlow's converter: the properties of its files, in this process and in a child."""

import logging

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from keras_kd.export import conversion, to_tflite
from keras_kd.export.conversion import ConversionError, missing_ops
from keras_kd.litert.flatbuffer import flex_ops
from tests.export import models


def dtypes(path):
    """Return the dtypes of the only input and the only output."""
    interpreter = Interpreter(str(path))
    details = (interpreter.get_input_details()[0], interpreter.get_output_details()[0])
    return [np.dtype(detail["dtype"]).name for detail in details]


def test_int8_has_integer_activations_between_float_inputs_and_outputs():
    file = models.export(models.cnn, "int8")
    assert dtypes(file.path) == ["float32", "float32"]
    graph = schema.ModelT.InitFromPackedBuf(file.path.read_bytes(), 0).subgraphs[0]
    floats = [t for t in graph.tensors if t.type == schema.TensorType.FLOAT32]
    assert len(floats) == 2


@pytest.mark.parametrize(("quantization", "dtype"), [("int8", "int8"), ("int16x8", "int16")])
def test_inputs_and_outputs_can_be_integers(quantization, dtype):
    file = models.export(models.cnn, quantization, io_dtype=dtype)
    assert dtypes(file.path) == [dtype, dtype]
    expected = models.cnn().predict_on_batch(models.IMAGES)
    np.testing.assert_allclose(file.predict(models.IMAGES), expected, atol=0.1)


def test_smaller_formats_give_smaller_files_and_16_bit_activations_a_smaller_error():
    files = {q: models.export(models.cnn, q) for q in ("float32", "float16", "int8", "int16x8")}
    assert files["float32"].size > 1.4 * files["float16"].size > 1.4 * files["int8"].size
    errors = {q: file.verification.relative_difference for q, file in files.items()}
    assert errors["int16x8"] < errors["int8"]


def test_one_scale_per_tensor_gives_a_smaller_file():
    one_scale = models.export(models.cnn, "int8", per_channel=False)
    assert one_scale.size < models.export(models.cnn, "int8").size


def test_missing_ops_are_kept_as_tensorflow_ops_only_on_request(tmp_path, monkeypatch):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"before")
    monkeypatch.setattr(conversion, "_SAFE_OPS", f"{conversion._SAFE_OPS} Sinh Tan")  # No child.
    with pytest.raises(
        ValueError, match=r"with Sinh \(in lambda.*\), Tan \(in lambda.*\)\. .*allow_flex=True"
    ):
        to_tflite(models.sinh_tan(), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    file = models.export(models.sinh_tan, allow_flex=True)
    assert sorted(flex_ops(file.path.read_bytes())) == ["Sinh", "Tan"]
    assert file.verification is None
    with pytest.raises(RuntimeError, match=r"it needs TensorFlow ops \(Sinh, Tan\)"):
        file.predict(models.IMAGES)


def test_ops_without_a_flex_kernel_are_rejected(monkeypatch):
    monkeypatch.setattr(conversion, "_SAFE_OPS", f"{conversion._SAFE_OPS} Digamma")  # No child.
    with pytest.raises(
        ValueError, match=r"with Digamma \(in .*\). TensorFlow's Flex kernels do not have"
    ):
        models.convert(models.lambdas(tf.math.digamma), allow_flex=True)


def test_missing_ops_are_read_from_the_message():
    message = "'tf.Tan' op is neither a custom op nor a flex op\n" * 2
    assert missing_ops(ConversionError(message)) == ["Tan"]
    assert missing_ops(ConversionError("another error")) == []


def test_a_conversion_prints_nothing_in_a_notebook_where_tensorflow_logs_information(
    tmp_path, caplog
):
    logger = tf.get_logger()
    caplog.set_level("INFO", "tensorflow")
    to_tflite(models.cnn(), tmp_path / "model.tflite")
    assert caplog.records == []
    assert logger.level == logging.INFO
