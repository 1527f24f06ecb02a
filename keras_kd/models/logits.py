"""Detect whether an output is logits or probabilities, and locate its logits.

The graph is read from the output backwards. An ambiguous output is never guessed.
"""

from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.models.graph import Call, Graph, with_activation

#: Values of an `outputs` argument.
OUTPUTS = ("auto", "logits", "probabilities")

_ACTIVATION_KINDS = {
    keras.activations.linear: "logits",
    keras.activations.log_softmax: "logits",
    keras.activations.softmax: "softmax",
    keras.activations.sigmoid: "sigmoid",
}

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

# Combine values: the result of logits is logits, the result of probabilities is unknown.
_COMBINING_LAYERS = (
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Average,
    keras.layers.Concatenate,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Rescaling,
    keras.layers.Dropout,
    keras.layers.UpSampling2D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.Resizing,
)
_COMBINING_OPS = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Mean", "Matmul", "Einsum")


@dataclass(frozen=True)
class OutputKind:
    """Kind of an output.

    Attributes:
        kind: `"logits"`, `"softmax"` or `"sigmoid"` (probabilities from that activation) or
            `"unknown"`.
        call: The call that determines the kind, or `None` for an input.
    """

    kind: str
    call: Call | None


def inspect_output(graph: Graph, tensor: keras.KerasTensor) -> OutputKind:
    """Detect the kind of a tensor of a graph."""
    call = graph.maker(tensor)
    if call is None:
        return OutputKind("unknown", None)
    if _changes_layout(call.layer):
        return inspect_output(graph, call.inputs[0])
    if _combines(call.layer):
        kinds = {inspect_output(graph, source).kind for source in call.inputs}
        return OutputKind("unknown" if kinds & {"softmax", "sigmoid"} else "logits", call)
    return OutputKind(_activation_kind(call), call)


def trace_logits(graph: Graph, tensor: keras.KerasTensor) -> tuple[Call, list[Call]]:
    """Trace probabilities back to the call that computes them from logits.

    Returns:
        The call that computes the probabilities, and the calls that change their layout, in order.
    """
    call = graph.maker(tensor)
    if not _changes_layout(call.layer):
        return call, []
    origin, layout_calls = trace_logits(graph, call.inputs[0])
    return origin, [*layout_calls, call]


def input_is_logits(call: Call) -> bool:
    """Return whether a call's input is the logits; otherwise its layer has an `activation`."""
    layer = call.layer
    plain = isinstance(layer, (keras.layers.Activation, keras.layers.Softmax))
    return plain or not _is_layer(layer)


def unknown_output_message(name: str, found: OutputKind) -> str:
    """Return the error message for an output of unknown kind."""
    source = "an input" if found.call is None else f"'{found.call.path}'"
    kind = "" if found.call is None else f" ({type(found.call.layer).__name__})"
    return (
        f"The output of '{name}', computed by {source}{kind}, may be logits or probabilities; its "
        "activation is not known."
    )


def _activation_kind(call: Call) -> str:
    layer = with_activation(call.layer)
    if layer is not call.layer and call.inputs[0].shape[1] is None:
        return "unknown"  # With an unknown number of steps, the wrapped layer runs in a loop.
    if isinstance(layer, keras.layers.Softmax):
        return "softmax" if layer.axis in (-1, len(call.outputs[0].shape) - 1) else "unknown"
    if isinstance(layer, ACTIVATED):
        return _ACTIVATION_KINDS.get(layer.activation, "unknown")
    name = type(layer).__name__
    if not _is_layer(layer) and name in ("Softmax", "Sigmoid"):
        return name.lower() if getattr(layer, "axis", -1) == -1 else "unknown"
    return "unknown"


def _is_layer(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Layer)


def _changes_layout(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.linear  # A cast, under mixed precision.
    return isinstance(layer, _LAYOUT_LAYERS) or (
        not _is_layer(layer) and type(layer).__name__ in _LAYOUT_OPS
    )


def _combines(layer: Any) -> bool:
    return isinstance(layer, _COMBINING_LAYERS) or (
        not _is_layer(layer) and type(layer).__name__ in _COMBINING_OPS
    )
