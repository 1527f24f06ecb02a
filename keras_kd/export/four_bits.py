"""Store the kernels of an int8 file that were trained for 4 bits in 4 bits."""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_kd.litert.flatbuffer import operators, pack, parse

#: The ops that LiteRT runs with 8-bit activations and 4-bit weights.
FOUR_BIT_OPS = ("CONV_2D", "FULLY_CONNECTED")
# Largest weights in 8 and in 4 bits.
_LARGEST, _LARGEST_4 = 127, 7


def pack_kernels(content: bytes) -> bytes:
    """Return an int8 file whose kernels of 15 values or fewer are stored in 4 bits.

    Only kernels whose weights are those of 4 bits are stored so; the converter has stored them in
    8 bits, with the same largest value.
    """
    model = parse(content)
    packed: set[int] = set()
    for graph in model.subgraphs:
        for op, operator in operators(model, graph):
            if op in FOUR_BIT_OPS:
                _pack_kernel(model, graph, operator, packed)
    return pack(model, len(content))


def _pack_kernel(model: Any, graph: Any, operator: Any, packed: set[int]) -> None:
    inputs = [graph.tensors[index] for index in operator.inputs if index >= 0]
    kernel = inputs[1]
    if kernel.type != schema.TensorType.INT8 or model.buffers[kernel.buffer].data is None:
        return
    weights = _numbers(model, kernel, "int8").astype("int32")
    values = np.round(weights * (_LARGEST_4 / _LARGEST))
    if kernel.buffer in packed or (np.round(values * (_LARGEST / _LARGEST_4)) != weights).any():
        return
    packed.add(kernel.buffer)
    scales = np.asarray(kernel.quantization.scale, "float64") * (_LARGEST / _LARGEST_4)
    nibbles = np.append(values, np.zeros(len(values) % 2)).astype("int8").view("uint8") & 15
    model.buffers[kernel.buffer].data = nibbles[0::2] | (nibbles[1::2] << 4)
    kernel.type = schema.TensorType.INT4
    kernel.quantization.scale = scales.astype("float32")
    for bias in inputs[2:]:
        old = np.asarray(bias.quantization.scale, "float64")
        new = inputs[0].quantization.scale[0] * scales
        numbers = np.round(_numbers(model, bias, "int32") * (old / new)).astype("int32")
        model.buffers[bias.buffer].data = np.frombuffer(numbers.tobytes(), "uint8")
        bias.quantization.scale = new.astype("float32")


def _numbers(model: Any, tensor: Any, dtype: str) -> np.ndarray:
    return np.frombuffer(np.asarray(model.buffers[tensor.buffer].data, "uint8").tobytes(), dtype)
