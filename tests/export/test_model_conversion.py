"""A model becomes the content of a file, or of a calibrated file for a later quantization."""

import pytest

from keras_kd.export.conversion import ConversionError, quantize_calibrated
from keras_kd.export.metadata import describe_content
from keras_kd.export.model_conversion import convert_model, describe
from keras_kd.export.options import Options
from keras_kd.litert.flatbuffer import operators, parse
from keras_kd.litert.signature import infer_signature
from tests.export import models


def ops(content):
    model = parse(content)
    return [op for op, _ in operators(model, model.subgraphs[0])]


def test_a_calibrated_file_is_quantized_later():
    model = models.cnn()
    inputs, options = infer_signature(model), Options("int8", keep_float="auto")
    samples = dict.fromkeys(inputs.names, models.IMAGES[:4])
    content, description = convert_model(model, inputs, options, samples)
    assert "QUANTIZE" not in ops(content)
    assert describe_content(content).quantization is None
    quantized = describe(quantize_calibrated(content, options.request, ()), description, inputs)
    assert ops(quantized)[0] == "QUANTIZE"
    assert describe_content(quantized).quantization == "int8"


def test_an_error_of_the_quantizer_is_a_conversion_error():
    with pytest.raises(ConversionError):
        quantize_calibrated(b"no model", Options("int8").request, ())
