"""Detect whether an output is logits, probabilities or numbers, and locate its logits.

The graph is read from the output backwards. An ambiguous output is never guessed: "unknown" is
contagious through layers that combine values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_kd.models.activation_range import ActivationRange, IntegerRounding
from keras_kd.models.graph import Call, Graph, with_activation
from keras_kd.models.layouts import Layouts

_ACTIVATION_KINDS = {
    keras.activations.linear: "logits",
    keras.activations.log_softmax: "logits",
    keras.activations.softmax: "softmax",
    keras.activations.sigmoid: "sigmoid",
}
#: Elementwise activations, as functions and as operations, that make neither logits nor
#: probabilities.
_VALUE_ACTIVATIONS = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_silu", "hard_tanh"),
    *("leaky_relu", "mish", "relu", "relu6", "selu", "silu", "soft_shrink", "softplus"),
    *("softsign", "sparse_plus", "squareplus", "tanh", "tanh_shrink", "threshold"),
)
_ACTIVATION_KINDS |= {getattr(keras.activations, name): "values" for name in _VALUE_ACTIVATIONS}
_VALUE_OPS = {name.replace("_", "") for name in _VALUE_ACTIVATIONS}
_VALUE_LAYERS = (
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
)
#: Layers whose outputs are any real number, like those of a linear layer.
_LINEAR_LAYERS = (
    keras.layers.Embedding,
    keras.layers.GroupQueryAttention,
    keras.layers.MultiHeadAttention,
)
_RECURRENT_LAYERS = (keras.layers.GRU, keras.layers.LSTM, keras.layers.SimpleRNN)

#: Layers with weights and an `activation` argument.
COMPUTE_AND_ACTIVATE = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
# Layers of KerasHub, which need not be installed, that apply `activation` last.
_HUB_ACTIVATED = ("MaskedLMHead",)
#: Layers that apply `activation` last.
ACTIVATED = (*COMPUTE_AND_ACTIVATE, keras.layers.Activation)

# Change the layout only, so they commute with an elementwise activation or softmax.
_LAYOUT_LAYERS = (
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Identity,
)
_LAYOUT_OPS = ("Reshape", "Squeeze", "ExpandDims", "Transpose", "GetItem", "Cast", "Identity")

# Combine values of one kind into the same kind; the result of probabilities is unknown.
_COMBINING_LAYERS = (
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Rescaling,
    keras.layers.Dropout,
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.Resizing,
)
_COMBINING_OPS = (
    *("Add", "Subtract", "Multiply", "Negative", "Mean", "Sum", "Max", "Min"),
    *("Maximum", "Minimum", "Average"),
)
_DIVIDING_OPS = ("Divide", "TrueDivide")
# Columns of different kinds stay different.
_JOINING_LAYERS = (keras.layers.Concatenate,)
_JOINING_OPS = ("Concatenate", "Stack")
# Sums of products: any real number.
_PRODUCT_LAYERS = (keras.layers.Dot,)
_PRODUCT_OPS = ("Matmul", "Einsum", "Dot", "Tensordot")
# Center or scale each sample, so that unknown values become any real number.
_NORMALIZATION_LAYERS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
)

#: The smallest normal float32: the logarithm of 0 would give NaN gradients.
_TINY = 1.1754944e-38


@dataclass(frozen=True)
class OutputKind:
    """Kind of an output.

    Attributes:
        kind: `"logits"`, `"softmax"` or `"sigmoid"` (probabilities from that activation),
            `"values"` (another elementwise activation, such as tanh or relu) or `"unknown"`.
        call: The call that determines the kind, or `None` for an input.
    """

    kind: str
    call: Call | None


def inspect_output(graph: Graph, tensor: keras.KerasTensor) -> OutputKind:
    """Detect the kind of a tensor of a graph."""
    return _inspect(graph, tensor, {})


def _inspect(graph: Graph, tensor: keras.KerasTensor, known: dict[int, OutputKind]) -> OutputKind:
    if id(tensor) not in known:
        known[id(tensor)] = _inspect_call(graph, graph.maker(tensor), known)
    return known[id(tensor)]


def _inspect_call(graph: Graph, call: Call | None, known: dict[int, OutputKind]) -> OutputKind:
    if call is None:
        return OutputKind("unknown", None)
    if changes_layout(call.layer):
        found = _inspect(graph, call.inputs[0], known)
        whole = found.kind != "softmax" or _keeps_classes(graph, call)
        return found if whole else OutputKind("unknown", call)
    combine = _combination(call.layer)
    if combine is None:
        kind = _activation_kind(call)
        return OutputKind(kind if _is_over_classes(graph, call) else "unknown", call)
    return OutputKind(combine([_inspect(graph, x, known).kind for x in call.inputs]), call)


def trace_logits(graph: Graph, tensor: keras.KerasTensor) -> tuple[Call, list[Call]]:
    """Trace probabilities back to the call that computes them from logits.

    Returns:
        The call that computes the probabilities, and the calls that change their layout, in order.
    """
    call = graph.maker(tensor)
    if not changes_layout(call.layer):
        return call, []
    origin, layout_calls = trace_logits(graph, call.inputs[0])
    if isinstance(
        call.layer, ActivationRange | IntegerRounding
    ):  # Of the probabilities, not of the logits.
        return origin, layout_calls
    return origin, [*layout_calls, call]


def input_is_logits(call: Call) -> bool:
    """Return whether a call's input is the logits; otherwise its layer has an `activation`."""
    layer = call.layer
    plain = isinstance(layer, (keras.layers.Activation, keras.layers.Softmax))
    return plain or not _is_layer(layer)


def log_probabilities(probabilities: Any) -> Any:
    """Return log p in float32 (or float64), finite and with finite gradients also at p = 0.

    Args:
        probabilities: Values in [0, 1], of any shape.
    """
    if keras.backend.standardize_dtype(probabilities.dtype) != "float64":
        probabilities = ops.cast(probabilities, "float32")
    return ops.log(ops.maximum(probabilities, _TINY))


def log_odds(log_p: Any) -> Any:
    """Return log(p / (1 − p)), the logits of a sigmoid, from log p; finite also at p = 1.

    Args:
        log_p: The result of `log_probabilities`.
    """
    # 1 − p in float32 is a multiple of 2**-24; below half of that, p is 1.
    log_p = ops.minimum(log_p, -(2.0**-25))
    return log_p - ops.log(-ops.expm1(log_p))


def combine_kinds(kinds: Sequence[str]) -> str:
    """Return the kind of a sum, mean or maximum of values of these kinds."""
    return "values" if set(kinds) == {"values"} else multiply_kinds(kinds)


def divide_kinds(kinds: Sequence[str]) -> str:
    """Return the kind of a quotient: positive values divided by their sum are probabilities."""
    return "unknown" if len(kinds) > 1 and kinds[0] == "values" else combine_kinds(kinds)


def join_kinds(kinds: Sequence[str]) -> str:
    """Return the kind of values side by side."""
    return kinds[0] if set(kinds) in ({"logits"}, {"values"}) else "unknown"


def multiply_kinds(kinds: Sequence[str]) -> str:
    """Return the kind of a matrix product."""
    return "logits" if {"logits", "values"}.issuperset(kinds) else "unknown"


def _activation_kind(call: Call) -> str:
    layer = with_activation(call.layer)
    if layer is not call.layer and call.inputs[0].shape[1] is None:
        return "unknown"  # With an unknown number of steps, the wrapped layer runs in a loop.
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if isinstance(layer, ACTIVATED) or _is_hub_head(layer):
        return _ACTIVATION_KINDS.get(layer.activation, "unknown")
    return _layer_kind(layer) if _is_layer(layer) else _operation_kind(layer)


def _is_over_classes(graph: Graph, call: Call) -> bool:
    """Return whether a softmax is over the axis of the classes; `True` for other activations."""
    layer, rank = with_activation(call.layer), len(call.outputs[0].shape)
    softmax = type(layer).__name__ in ("Softmax", "LogSoftmax")
    functions = (keras.activations.softmax, keras.activations.log_softmax)
    if not softmax and not (isinstance(layer, ACTIVATED) and layer.activation in functions):
        return True
    axis = layer.axis if softmax else -1
    if not isinstance(axis, int):
        return False
    classes = rank - 1 if rank < 3 else Layouts(graph).channel_axis(call.outputs[0])
    return axis % rank == classes


def _keeps_classes(graph: Graph, call: Call) -> bool:
    """Return whether a layer that changes the layout of a softmax keeps its classes on one axis."""
    before, after = call.inputs[0], call.outputs[0]
    if tuple(before.shape) == tuple(after.shape):
        return True
    layouts = Layouts(graph)
    axes = layouts.channel_axis(before), layouts.channel_axis(after)
    return None not in axes and before.shape[axes[0]] == after.shape[axes[1]]


def _layer_kind(layer: keras.layers.Layer) -> str:
    """Return the kind of a layer without an `activation` that it applies last."""
    if isinstance(layer, _LINEAR_LAYERS):
        return "logits"
    if isinstance(layer, _RECURRENT_LAYERS):
        # Gates multiply the activation.
        return "values" if _ACTIVATION_KINDS.get(layer.activation) == "values" else "unknown"
    return "values" if isinstance(layer, _VALUE_LAYERS) else "unknown"


def _operation_kind(operation: Any) -> str:
    name = type(operation).__name__.lower()
    if name in ("softmax", "sigmoid", "logsoftmax"):
        return {"logsoftmax": "logits"}.get(name, name)
    return "values" if name in _VALUE_OPS else "unknown"


def _is_hub_head(layer: Any) -> bool:
    kind = type(layer)
    return kind.__name__ in _HUB_ACTIVATED and kind.__module__.startswith("keras_hub.")


def _is_layer(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Layer)


def changes_layout(layer: Any) -> bool:
    """Return whether a layer or operation changes the layout of its input only."""
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.linear  # A cast, under mixed precision.
    return isinstance(layer, _LAYOUT_LAYERS) or (
        not _is_layer(layer) and type(layer).__name__ in _LAYOUT_OPS
    )


def _combination(layer: Any) -> Any:
    """Return the function from the kinds of a layer's inputs to its own, or `None`."""
    for layers, operations, combine in (
        (_COMBINING_LAYERS, _COMBINING_OPS, combine_kinds),
        ((), _DIVIDING_OPS, divide_kinds),
        (_JOINING_LAYERS, _JOINING_OPS, join_kinds),
        (_PRODUCT_LAYERS, _PRODUCT_OPS, multiply_kinds),
        (_NORMALIZATION_LAYERS, (), _normalize_kinds),
    ):
        named = not _is_layer(layer) and type(layer).__name__ in operations
        if isinstance(layer, layers) or named:
            return combine
    return None


def _normalize_kinds(kinds: Sequence[str]) -> str:
    return "unknown" if {"softmax", "sigmoid"}.intersection(kinds) else "logits"
