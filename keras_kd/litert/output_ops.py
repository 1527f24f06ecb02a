"""Find the op that computes an output of a .tflite file: logits, probabilities or numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keras_kd.litert.flatbuffer import operators, parse
from keras_kd.models.logits import combine_kinds, divide_kinds, join_kinds, multiply_kinds

# Ops that pass their input on, reshaped or (de)quantized.
_PASS_THROUGH = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "CAST", "SQUEEZE", "EXPAND_DIMS")
_FLOAT32 = 0
_ACTIVATIONS = {
    "SOFTMAX": "softmax",
    "LOG_SOFTMAX": "logits",
    "LOGISTIC": "sigmoid",
} | dict.fromkeys(
    ("ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "PRELU", "RELU", "RELU6", "RELU_N1_TO_1", "TANH"),
    "values",
)
_LINEAR = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
#: By op, how the kinds of its inputs determine the kind of its output.
_COMBINING: dict[str, Callable[[Sequence[str]], str]] = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "NEG", "MEAN", "SUM", "MAXIMUM"), combine_kinds),
    **dict.fromkeys(("MINIMUM", "AVERAGE_POOL_2D", "MAX_POOL_2D"), combine_kinds),
    **dict.fromkeys(("CONCATENATION", "PACK"), join_kinds),
    "DIV": divide_kinds,
    "BATCH_MATMUL": multiply_kinds,
}


@dataclass(frozen=True)
class FinalOp:
    """The op that computes an output.

    Attributes:
        op: Its name in the file, such as `"SOFTMAX"`; empty for an input that is passed through.
        kind: `"softmax"`, `"sigmoid"`, `"logits"`, `"values"` or `"unknown"`, as for
            `models.logits.OutputKind`.
        quantized: Whether its result is quantized.
    """

    op: str
    kind: str
    quantized: bool


def final_op(content: bytes, tensor: str) -> FinalOp:
    """Find the op that computes an output.

    Raises:
        ValueError: If the file is damaged or has no such tensor.
    """
    model = parse(content)
    graph = model.subgraphs[0]
    names = [one.name.decode() for one in graph.tensors]
    index = next((int(i) for i in graph.outputs if names[i] == tensor), None)
    if index is None:
        raise ValueError(f"Expected an output of the file: {names}. Received: {tensor!r}.")
    return _Ops(model, graph).find(index)


class _Ops:
    """The ops of a graph by the tensors that they compute."""

    def __init__(self, model: Any, graph: Any) -> None:
        self._graph = graph
        self._computed = {int(i): op for op in operators(model, graph) for i in op[1].outputs}
        self._inputs = {int(i) for i in graph.inputs}
        self._found: dict[int, FinalOp] = {}

    def find(self, index: int) -> FinalOp:
        """Return the op that computes a tensor, and the kind of the tensor."""
        if index not in self._found:
            self._found[index] = self._find(index)
        return self._found[index]

    def _find(self, index: int) -> FinalOp:
        name, operator = self._computed.get(index, ("", None))
        if name in _PASS_THROUGH:
            return self.find(int(operator.inputs[0]))
        quantized = self._graph.tensors[index].type != _FLOAT32
        if name in _ACTIVATIONS:
            return FinalOp(name, _ACTIVATIONS[name], quantized)
        if getattr(getattr(operator, "builtinOptions", None), "fusedActivationFunction", 0):
            return FinalOp(name, "values", quantized)
        if name in _COMBINING:
            kinds = [self.find(i).kind for i in map(int, operator.inputs) if self._varies(i)]
            return FinalOp(name, _COMBINING[name](kinds), quantized)
        return FinalOp(name, "logits" if name in _LINEAR else "unknown", quantized)

    def _varies(self, index: int) -> bool:
        return index in self._computed or index in self._inputs
