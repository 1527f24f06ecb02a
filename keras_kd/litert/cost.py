"""What a .tflite file's graph costs, counted in its ops: multiplications and parameters."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_kd.litert.flatbuffer import operators, parse

_INTEGERS = (schema.TensorType.INT32, schema.TensorType.INT64, schema.TensorType.BOOL)
# Ops with a bias as their third input.
_WITH_BIAS = ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@dataclass(frozen=True)
class Cost:
    """What one run of a file's main graph takes.

    Attributes:
        macs: Multiply-accumulate operations of its convolutions, dense layers and matrix products,
            for one batch of the file's own size (1 where that is free); `None` where a shape or the
            number of steps of a loop is not known.
        parameters: Number of weights and biases.
        ops: How often each op occurs, by its name.
    """

    macs: int | None
    parameters: int
    ops: dict[str, int]


def cost(content: bytes) -> Cost:
    """Counts what a .tflite model costs.

    Raises:
        ValueError: If it is damaged.
    """
    model = parse(content)
    ops = Counter(name for graph in model.subgraphs for name, _ in operators(model, graph))
    try:
        macs = _macs(model, model.subgraphs[0])
    except _UnknownError:
        macs = None
    return Cost(macs, _parameters(model), dict(sorted(ops.items())))


class _UnknownError(Exception):
    """Something that is not known before the model runs."""


def _macs(model: Any, graph: Any) -> int:
    total = 0
    for name, operator in operators(model, graph):
        if name == "WHILE":
            body = model.subgraphs[operator.builtinOptions.bodySubgraphIndex]
            total += _steps(model, operator) * _macs(model, body)
        else:
            total += _macs_of(name, operator, graph)
    return total


def _macs_of(name: str, operator: Any, graph: Any) -> int:
    """Returns the products of one op: of each output value, or of each input value."""

    def shape(index: int) -> list[int]:
        sizes = graph.tensors[index].shape
        if sizes is None or any(size < 1 for size in sizes):
            raise _UnknownError
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
        "BATCH_MATMUL": lambda: shape(inputs[0])[-2 if _turned(operator) else -1],
    }.get(name)
    return per_output() * math.prod(shape(output)) if per_output else 0


def _turned(operator: Any) -> bool:
    return bool(operator.builtinOptions and operator.builtinOptions.adjX)


def _steps(model: Any, operator: Any) -> int:
    """Returns how often a loop runs: the least constant that its condition compares with."""
    graph = model.subgraphs[operator.builtinOptions.condSubgraphIndex]
    limits = []
    for name, compared in operators(model, graph):
        for index in compared.inputs if name == "LESS" else ():
            data = model.buffers[graph.tensors[index].buffer].data
            if data is not None and len(data) in (4, 8):
                limits.append(int(np.asarray(data, "uint8").view(f"int{8 * len(data)}")[0]))
    if not limits:
        raise _UnknownError
    return min(limits)


def _parameters(model: Any) -> int:
    """Counts the constants that ops compute with, each buffer once."""
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
