"""Which op makes each output of a .tflite file: whether it gives logits or probabilities."""

from dataclasses import dataclass

from keras_kd.litert.flatbuffer import operators, parse

# They hand on what they are given, or turn integers into the numbers that these stand for.
_MOVING = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "CAST", "SQUEEZE", "EXPAND_DIMS")
_FLOAT32 = 0
_ACTIVATIONS = {"SOFTMAX": "softmax", "LOG_SOFTMAX": None, "LOGISTIC": "sigmoid"}
_LINEAR = ("FULLY_CONNECTED", "CONV_2D", "ADD", "MUL", "SUB", "MEAN", "AVERAGE_POOL_2D")


@dataclass(frozen=True)
class FinalOp:
    """What makes an output.

    Attributes:
        op: Its name in the file, such as `"SOFTMAX"`; empty for an input that is handed on.
        kind: `"softmax"`, `"sigmoid"`, `"logits"` or `"unknown"`.
        quantized: Whether it gives integers that stand for numbers.
    """

    op: str
    kind: str
    quantized: bool


def final_op(content: bytes, tensor: str) -> FinalOp:
    """Finds the op that makes an output.

    Args:
        content: The bytes of the file.
        tensor: The output's tensor, by its name in the main graph.

    Raises:
        ValueError: If the file is damaged or has no such tensor.
    """
    model = parse(content)
    graph = model.subgraphs[0]
    makers = {int(i): (name, op) for name, op in operators(model, graph) for i in op.outputs}
    names = [one.name.decode() for one in graph.tensors]
    index = next((int(i) for i in graph.outputs if names[i] == tensor), None)
    if index is None:
        raise ValueError(f"Expected an output of the file: {names}. Received: {tensor!r}.")
    name, operator = makers.get(index, ("", None))
    while name in _MOVING:
        index = int(operator.inputs[0])
        name, operator = makers.get(index, ("", None))
    kind = _ACTIVATIONS.get(name) or ("logits" if _is_linear(name, operator) else "unknown")
    return FinalOp(name, kind, graph.tensors[index].type != _FLOAT32)


def _is_linear(name: str, operator: object) -> bool:
    fused = getattr(getattr(operator, "builtinOptions", None), "fusedActivationFunction", 0)
    return name == "LOG_SOFTMAX" or (name in _LINEAR and not fused)
