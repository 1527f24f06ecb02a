"""Whether an output is logits or probabilities, and where its logits are.

The answer is read off the graph, from the output backwards. What cannot be told is not guessed.
"""

from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.models.graph import Call, Graph, with_activation

#: What a user may say of a model's outputs.
OUTPUTS = ("auto", "logits", "probabilities")

_FINAL = {
    keras.activations.linear: "logits",
    keras.activations.log_softmax: "logits",
    keras.activations.softmax: "softmax",
    keras.activations.sigmoid: "sigmoid",
}

#: Layers that compute something and end in an activation of their own.
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
#: Layers whose `activation` is applied last.
ACTIVATED = (*COMPUTE_AND_ACTIVATE, keras.layers.Activation)

# They move values about, so the logits of what they give are what they give for the logits.
_MOVING = (
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Identity,
)
_MOVING_OPS = ("Reshape", "Squeeze", "ExpandDims", "Transpose", "GetItem", "Cast", "Identity")

# They mix values: logits in, logits out; probabilities in, nobody knows.
_MIXING = (
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
_MIXING_OPS = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Mean", "Matmul", "Einsum")


@dataclass(frozen=True)
class Verdict:
    """What a tensor holds.

    `kind` is `"logits"`, `"softmax"`, `"sigmoid"` (probabilities made by it) or `"unknown"`;
    `call` is the call that decided it.
    """

    kind: str
    call: Call | None


def inspect_output(graph: Graph, tensor: keras.KerasTensor) -> Verdict:
    """Finds out what a tensor of an opened graph holds.

    Args:
        graph: The opened graph.
        tensor: One of its tensors.

    Returns:
        The `Verdict`.
    """
    call = graph.maker(tensor)
    if call is None:
        return Verdict("unknown", None)
    if _moves(call.layer):
        return inspect_output(graph, call.inputs[0])
    if _mixes(call.layer):
        kinds = {inspect_output(graph, source).kind for source in call.inputs}
        return Verdict("unknown" if kinds & {"softmax", "sigmoid"} else "logits", call)
    return Verdict(_final_kind(call), call)


def way_to_logits(graph: Graph, tensor: keras.KerasTensor) -> tuple[Call, list[Call]]:
    """The call behind which the logits of some probabilities are, and what is done to them after.

    Args:
        graph: An opened graph.
        tensor: One of its tensors, found to hold probabilities.

    Returns:
        The call that makes the probabilities, and the calls that only move them about, in order.
    """
    call = graph.maker(tensor)
    if not _moves(call.layer):
        return call, []
    origin, moves = way_to_logits(graph, call.inputs[0])
    return origin, [*moves, call]


def takes_logits(call: Call) -> bool:
    """Whether a call's input is the logits; else the activation is an argument of its layer."""
    layer = call.layer
    plain = isinstance(layer, (keras.layers.Activation, keras.layers.Softmax))
    return plain or not _is_layer(layer)


def unknown_output_message(name: str, verdict: Verdict) -> str:
    """The sentence that says why a kind cannot be told, and what to pass."""
    made_by = "an input" if verdict.call is None else f"'{verdict.call.path}'"
    kind = "" if verdict.call is None else f" ({type(verdict.call.layer).__name__})"
    return (
        f"It cannot be told whether the output of '{name}', made by {made_by}{kind}, is logits or "
        "probabilities."
    )


def _final_kind(call: Call) -> str:
    layer = with_activation(call.layer)
    if layer is not call.layer and call.inputs[0].shape[1] is None:
        return "unknown"  # Without a number of steps the wrapped layer runs out of reach.
    if isinstance(layer, keras.layers.Softmax):
        return "softmax" if layer.axis in (-1, len(call.outputs[0].shape) - 1) else "unknown"
    if isinstance(layer, ACTIVATED):
        return _FINAL.get(layer.activation, "unknown")
    name = type(layer).__name__
    if not _is_layer(layer) and name in ("Softmax", "Sigmoid"):
        return name.lower() if getattr(layer, "axis", -1) == -1 else "unknown"
    return "unknown"


def _is_layer(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Layer)


def _moves(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.linear  # A cast, under mixed precision.
    return isinstance(layer, _MOVING) or (
        not _is_layer(layer) and type(layer).__name__ in _MOVING_OPS
    )


def _mixes(layer: Any) -> bool:
    return isinstance(layer, _MIXING) or (
        not _is_layer(layer) and type(layer).__name__ in _MIXING_OPS
    )
