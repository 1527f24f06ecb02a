"""Kernels trained for 4 bits are stored in 4 bits, and LiteRT computes with them."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

import keras_kd as kd
from keras_kd.compression.qat.calibration import calibrate, settle
from keras_kd.compression.qat.quantize import Rounding, build_quantized
from keras_kd.export.four_bits import FOUR_BIT_OPS
from keras_kd.litert.flatbuffer import operators, parse
from keras_kd.models.activation_range import activation_ranges
from keras_kd.models.rounded_layers import has_four_bits
from tests.compression.qat.students import samples, stack


def student():
    keras.utils.set_random_seed(0)
    return stack(
        layers.Conv2D(6, 3, activation="relu", name="conv"),
        layers.Conv2D(5, 3, 2, use_bias=False, name="strided"),
        layers.DepthwiseConv2D(3, name="depthwise"),
        layers.Flatten(),
        layers.Dense(7, activation="relu", name="dense"),
        layers.Dense(3, name="logits"),
        shape=(14, 14, 3),
    )


@pytest.fixture(scope="module")
def trained():
    model, plans = build_quantized(student(), Rounding(bits=4))
    x = samples(model, 64)
    calibrate(model, [x])
    settle(model)
    return model, x, {plan.name: plan.reason for plan in plans}


def test_the_file_computes_with_kernels_of_four_bits(trained, tmp_path):
    model, x, reasons = trained
    assert has_four_bits(model)
    assert reasons["conv"] == "weights and output, 4 bits per weight"
    assert reasons["depthwise"] == "weights and output"
    file = kd.export.to_tflite(model, tmp_path / "m.tflite", "int8")
    steps = np.abs(file.predict(x) - model.predict(x, verbose=0))
    # The kernels for 4 bits round twice.
    assert (steps / activation_ranges(model)[-1].step).max() < 3.01
    content = parse(file.path.read_bytes())
    graph = content.subgraphs[0]
    for op, operator in operators(content, graph):
        if op in (*FOUR_BIT_OPS, "DEPTHWISE_CONV_2D"):
            kernel = graph.tensors[operator.inputs[1]]
            expected = "INT4" if op in FOUR_BIT_OPS else "INT8"
            assert kernel.type == getattr(schema.TensorType, expected)
            size = np.prod(kernel.shape)
            stored = len(content.buffers[kernel.buffer].data)
            assert stored == (-(-size // 2) if expected == "INT4" else size)


def test_other_kernels_stay_in_eight_bits(tmp_path):
    model, _ = build_quantized(student(), Rounding())
    calibrate(model, [samples(model)])
    assert not has_four_bits(model)
    file = kd.export.to_tflite(model, tmp_path / "m.tflite", "int8")
    content = parse(file.path.read_bytes())
    types = {tensor.type for tensor in content.subgraphs[0].tensors}
    assert schema.TensorType.INT4 not in types
