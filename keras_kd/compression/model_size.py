"""Parameters, multiplications and int8 bytes of a model, also of one that is not built yet."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from keras_kd.files import ShortRepr
from keras_kd.models.graph import Call, Graph, is_graph

Shape = Callable[[keras.Variable], tuple[int, ...]]

_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
#: Bytes of an int8 file beside its weights: a linear fit to the files of 45 models, within 3.5 % of
#: each. `ReLU` becomes part of the layer before it.
_PER_FILE, _PER_CONVOLUTION, _PER_OTHER_CALL = -120, 840, 50
_PER_LAYER = {
    layers.MultiHeadAttention: 4780,
    layers.LayerNormalization: 3420,
    layers.BatchNormalization: 40,
    layers.Dense: 1050,
    layers.Embedding: 240,
    layers.ReLU: 0,
    layers.Dropout: 0,
}
#: An activation of a layer with weights that is an operation of its own.
_PER_ACTIVATION = 230
_FUSED = ("linear", "relu", "relu6")
#: A convolution of one dimension is one of two between reshapes.
_PER_SERIES = 1000
_SMALLEST = 2500
#: By recurrent layer, whose steps are operations of their own in an int8 file: the bytes of a step,
#: those per unit, and how much of the first step is missing.
_STEPS = {
    layers.LSTM: (4700, 0, 0.9),
    layers.GRU: (4960, 80, 0.6),
    layers.SimpleRNN: (2070, 10, 2.1),
}
#: Bytes per output channel: an int32 bias, and a scale and a zero point for it and for the kernel.
_PER_CHANNEL = 28


@dataclass(frozen=True, repr=False)
class ModelSize(ShortRepr):
    """The size of a model.

    Attributes:
        parameters: Number of weights, as `Model.count_params`.
        macs: Multiply-accumulate operations for one sample; `None` if a shape is unknown.
        int8_bytes: Estimated size of its int8 `.tflite` file; `None` if it depends on an unknown
            number of recurrent steps.
    """

    parameters: int
    macs: int | None
    int8_bytes: int | None


def predict_size(graph: Graph, variables: Iterable[keras.Variable], shape: Shape) -> ModelSize:
    """Return the size of a model whose weights have other shapes.

    Args:
        graph: The opened graph of the model.
        variables: Its weights.
        shape: Returns the new shape of a weight.
    """
    parameters = sum(math.prod(shape(variable)) for variable in variables)
    calls = [c for found in graph.calls.values() for c in found if not is_graph(c.layer)]
    counts = [_macs(call, shape) for call in calls]
    macs = None if None in counts else sum(counts)
    return ModelSize(parameters, macs, _int8_bytes(calls, shape))


def _macs(call: Call, shape: Shape) -> int | None:
    """Return the multiplications of a call; `None` if a shape is unknown."""
    layer = call.layer
    kernels = _kernels(layer)
    if not kernels or isinstance(layer, layers.Embedding):
        return 0
    if isinstance(layer, layers.MultiHeadAttention):
        return _attention_macs(call, shape)
    if isinstance(layer, layers.EinsumDense):
        positions = _einsum_positions(layer, call.outputs[0])
    else:
        reads = isinstance(layer, (*_TRANSPOSED, layers.RNN, layers.Bidirectional))
        tensor = call.inputs[0] if reads else call.outputs[0]
        positions = _positions(tensor, getattr(layer, "data_format", "channels_last"))
    if positions is None:
        return None
    return positions * sum(math.prod(shape(kernel)) for kernel in kernels)


def _einsum_positions(layer: layers.EinsumDense, output: keras.KerasTensor) -> int | None:
    """Return how often each weight is used: the output's axes that the kernel lacks."""
    _, kernel, result = re.split(",|->", layer.equation.replace(" ", ""))
    sizes = [
        size
        for place, size in enumerate(reversed(output.shape[1:]), 1)
        if result[-place:][:1] not in kernel
    ]
    return None if None in sizes else math.prod(sizes)


def _attention_macs(call: Call, shape: Shape) -> int | None:
    """Return the multiplications of the projections and of the two products of attention."""
    layer, (query, *others) = call.layer, call.inputs
    lengths = [_positions(query), _positions(others[0] if others else query)]
    if None in lengths:
        return None
    tokens, memory = lengths
    query_kernel, key_kernel, value_kernel, output_kernel = (
        shape(part.kernel)
        for part in (layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense)
    )
    projections = tokens * (math.prod(query_kernel) + math.prod(output_kernel))
    projections += memory * (math.prod(key_kernel) + math.prod(value_kernel))
    products = tokens * memory * (math.prod(query_kernel[1:]) + math.prod(value_kernel[1:]))
    return projections + products


def _positions(tensor: keras.KerasTensor, layout: str = "channels_last") -> int | None:
    sizes = tensor.shape[2:] if layout == "channels_first" else tensor.shape[1:-1]
    return None if None in sizes else math.prod(sizes)


def _kernels(layer: layers.Layer) -> list[keras.Variable]:
    """Return the weights of a layer that are multiplied with its inputs."""
    if not isinstance(layer, layers.Layer) or isinstance(layer, layers.BatchNormalization):
        return []
    kernels = [w for w in layer.weights if w.name not in ("bias", "alpha")]
    return [w for w in kernels if len(w.shape) > 1 and "float" in w.dtype]


def _int8_bytes(calls: Iterable[Call], shape: Shape) -> int | None:
    """Estimate the size of an int8 file, in which batch norms are part of the kernels."""
    total, weights, seen = _PER_FILE, 0, set()
    for call in calls:
        layer, kernels = call.layer, _kernels(call.layer)
        steps = _step_bytes(call, shape)
        if steps is None:
            return None
        total += steps or _overhead(layer, kernels)
        if id(layer) not in seen:
            seen.add(id(layer))
            weights += sum(_kernel_bytes(layer, kernel, shape(kernel)) for kernel in kernels)
    return weights + max(total, _SMALLEST)


def _step_bytes(call: Call, shape: Shape) -> int | None:
    """Return the bytes of all steps of a recurrent layer, 0 for others, `None` if unknown."""
    layer = call.layer
    both = isinstance(layer, layers.Bidirectional)
    total = 0.0
    for part in (layer.forward_layer, layer.backward_layer) if both else (layer,):
        if type(part) in _STEPS:
            if (count := call.inputs[0].shape[1]) is None:
                return None
            base, per_unit, missing = _STEPS[type(part)]
            units = shape(part.cell.recurrent_kernel)[0]
            total += (count - missing) * (base + per_unit * units)
    return round(total)


def _overhead(layer: Any, kernels: Sequence[keras.Variable]) -> int:
    """Return the bytes of the operations of a layer."""
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    apart = _PER_ACTIVATION if kernels and activation not in _FUSED else 0
    for kind, size in _PER_LAYER.items():
        if isinstance(layer, kind):
            return size + apart
    series = any(len(kernel.shape) == 3 for kernel in kernels)
    convolutions = len(kernels) * _PER_CONVOLUTION + (_PER_SERIES if series else 0)
    return convolutions + apart if kernels else _PER_OTHER_CALL


def _kernel_bytes(layer: Any, kernel: keras.Variable, sizes: Sequence[int]) -> int:
    """Return the bytes of a kernel, its bias and their scales."""
    if kernel.name == "recurrent_kernel":  # Its bias is that of the other kernel.
        return math.prod(sizes)
    if isinstance(layer, layers.Embedding):
        return math.prod(sizes)
    if isinstance(layer, layers.MultiHeadAttention) and kernel is not layer.output_dense.kernel:
        channels = sizes[1] * sizes[2]  # Heads and their size.
    elif isinstance(layer, _DEPTHWISE):
        channels = sizes[-1] * sizes[-2]
    else:
        channels = sizes[-2] if isinstance(layer, _TRANSPOSED) else sizes[-1]
    return math.prod(sizes) + _PER_CHANNEL * channels
