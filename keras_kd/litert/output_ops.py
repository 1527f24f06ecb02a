"""Find the op that computes an output of a .tflite file: logits or probabilities."""

from dataclasses import dataclass

from keras_kd.litert.flatbuffer import operators, parse

# Ops that pass their input on, reshaped or (de)quantized.
_PASS_THROUGH = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "CAST", "SQUEEZE", "EXPAND_DIMS")
_FLOAT32 = 0
_ACTIVATIONS = {"SOFTMAX": "softmax", "LOG_SOFTMAX": None, "LOGISTIC": "sigmoid"}
_LINEAR = ("FULLY_CONNECTED", "CONV_2D", "ADD", "MUL", "SUB", "MEAN", "AVERAGE_POOL_2D")


@dataclass(frozen=True)
class FinalOp:
    """The op that computes an output.

    Attributes:
        op: Its name in the file, such as `"SOFTMAX"`; empty for an input that is passed through.
        kind: `"softmax"`, `"sigmoid"`, `"logits"` or `"unknown"`.
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
    producers = {int(i): (name, op) for name, op in operators(model, graph) for i in op.outputs}
    names = [one.name.decode() for one in graph.tensors]
    index = next((int(i) for i in graph.outputs if names[i] == tensor), None)
    if index is None:
        raise ValueError(f"Expected an output of the file: {names}. Received: {tensor!r}.")
    name, operator = producers.get(index, ("", None))
    while name in _PASS_THROUGH:
        index = int(operator.inputs[0])
        name, operator = producers.get(index, ("", None))
    kind = _ACTIVATIONS.get(name) or ("logits" if _is_linear(name, operator) else "unknown")
    return FinalOp(name, kind, graph.tensors[index].type != _FLOAT32)


def _is_linear(name: str, operator: object) -> bool:
    fused = getattr(getattr(operator, "builtinOptions", None), "fusedActivationFunction", 0)
    return name == "LOG_SOFTMAX" or (name in _LINEAR and not fused)
