"""Multiply-accumulate operations and parameters of a .tflite file, counted in its graph."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_kd.litert.flatbuffer import operators, parse

_INTEGERS = (schema.TensorType.INT32, schema.TensorType.INT64, schema.TensorType.BOOL)
# Ops whose third input is a bias.
_WITH_BIAS = ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@dataclass(frozen=True)
class Cost:
    """Cost of one run of a file's main graph.

    Attributes:
        macs: Multiply-accumulate operations of convolutions, dense layers and matrix products, for
            one batch of the file's own size (1 if it is free); `None` if a shape or the number of
            steps of a loop is unknown.
        parameters: Number of weights and biases.
        ops: Number of occurrences of each op, by name.
    """

    macs: int | None
    parameters: int
    ops: dict[str, int]


def cost(content: bytes) -> Cost:
    """Count the multiplications, parameters and ops of a .tflite model.

    Raises:
        ValueError: If it is damaged.
    """
    model = parse(content)
    ops = Counter(name for graph in model.subgraphs for name, _ in operators(model, graph))
    try:
        macs = _macs(model, model.subgraphs[0])
    except _UnknownSizeError:
        macs = None
    return Cost(macs, _parameters(model), dict(sorted(ops.items())))


class _UnknownSizeError(Exception):
    """A shape or a number of steps is not known before the model runs."""


def _macs(model: Any, graph: Any) -> int:
    total = 0
    for name, operator in operators(model, graph):
        if name == "WHILE":
            body = model.subgraphs[operator.builtinOptions.bodySubgraphIndex]
            total += _loop_steps(model, operator) * _macs(model, body)
        else:
            total += _op_macs(name, operator, graph)
    return total


def _op_macs(name: str, operator: Any, graph: Any) -> int:
    """Return the products of one op: per output value, or per input value."""

    def shape(index: int) -> list[int]:
        sizes = graph.tensors[index].shape
        if sizes is None or any(size < 1 for size in sizes):
            raise _UnknownSizeError
        return [int(size) for size in sizes]

    inputs, output = operator.inputs, operator.outputs[0]
    if name == "TRANSPOSE_CONV":
        return math.prod(shape(inputs[2])) * math.prod(shape(inputs[1])[:-1])
    if name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        weights = sum(math.prod(shape(index)) for index in inputs[1:9] if index >= 0)
        return math.prod(shape(inputs[0])[:2]) * weights
    per_output = {
        "CONV_2D": lambda: math.prod(shape(inputs[1])[1:]),
        "CONV_3D": lambda: math.prod(shape(inputs[1])[:-1]),
        "DEPTHWISE_CONV_2D": lambda: math.prod(shape(inputs[1])[1:3]),
        "FULLY_CONNECTED": lambda: shape(inputs[1])[-1],
        "BATCH_MATMUL": lambda: shape(inputs[0])[-2 if _transposes_first(operator) else -1],
    }.get(name)
    return per_output() * math.prod(shape(output)) if per_output else 0


def _transposes_first(operator: Any) -> bool:
    return bool(operator.builtinOptions and operator.builtinOptions.adjX)


def _loop_steps(model: Any, operator: Any) -> int:
    """Return the number of steps of a loop: the smallest constant in its condition."""
    graph = model.subgraphs[operator.builtinOptions.condSubgraphIndex]
    limits = []
    for name, compared in operators(model, graph):
        for index in compared.inputs if name == "LESS" else ():
            data = model.buffers[graph.tensors[index].buffer].data
            if data is not None and len(data) in (4, 8):
                limits.append(int(np.asarray(data, "uint8").view(f"int{8 * len(data)}")[0]))
    if not limits:
        raise _UnknownSizeError
    return min(limits)


def _parameters(model: Any) -> int:
    """Count the constants that ops compute with, each buffer once."""
    found = {}
    for graph in model.subgraphs:
        for name, operator in operators(model, graph):
            for slot, index in enumerate(operator.inputs if name != "WHILE" else ()):
                tensor = graph.tensors[index]
                bias = slot == 2 and name in _WITH_BIAS
                stored = index >= 0 and model.buffers[tensor.buffer].data is not None
                if stored and (bias or tensor.type not in _INTEGERS):
                    scalar = tensor.shape is None
                    found[tensor.buffer] = 1 if scalar else math.prod(map(int, tensor.shape))
    return sum(found.values())
