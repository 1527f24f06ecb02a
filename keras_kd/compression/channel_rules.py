"""What each kind of layer does with channels: one small function, one line in a table.

A rule gets the tracer and a call, and sets the channels of the call's outputs. It returns `False`
if it does not know the form of the call; then the layer is kept whole, like a layer without a rule.
Rules are for the exact classes: a subclass may compute something else.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_kd.compression import weight_rules
from keras_kd.compression.channel_tracer import ChannelTracer
from keras_kd.compression.weight_rules import channel_axis, is_elementwise
from keras_kd.models.graph import Call

Rule = Callable[[ChannelTracer, Call], bool]


def find_rule(operation: Any) -> Rule | None:
    """Return the rule of a layer or an operation of `keras.ops`."""
    kind = type(operation)
    if kind.__module__.startswith("keras.src.ops."):
        return _OPERATIONS.get(kind.__name__)
    return _LAYERS.get(kind)


def _same(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a layer that computes each channel on its own, without weights."""
    tracer.set(call.outputs[0], *tracer.layout(call.inputs[0]))
    return True


def _spatial(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a layer that changes the other axes than that of the channels."""
    axis = channel_axis(call.layer)
    tracer.set(call.outputs[0], tracer.get(call.inputs[0], axis), axis)
    return True


def _series(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a layer that changes the steps of a series."""
    tracer.set(call.outputs[0], tracer.get(call.inputs[0]))
    return True


def _activation(tracer: ChannelTracer, call: Call) -> bool:
    return is_elementwise(call.layer.activation) and _same(tracer, call)


def _rescaling(tracer: ChannelTracer, call: Call) -> bool:
    scalars = np.ndim(call.layer.scale) == np.ndim(call.layer.offset) == 0
    return scalars and _same(tracer, call)


def _combine(tracer: ChannelTracer, call: Call) -> bool:
    """Trace an operation of several tensors, channel by channel."""
    constants = [x for x in call.args if not isinstance(x, (keras.KerasTensor, list, tuple))]
    if any(np.size(x) > 1 for x in constants):
        return False
    layouts = [tracer.layout(x) for x in call.inputs]
    # From the end, as shapes are broadcast.
    axes = {axis - len(x.shape) for (_, axis), x in zip(layouts, call.inputs, strict=True)}
    if len(axes) > 1 or len({len(channels) for channels, _ in layouts} - {1}) > 1:
        return False
    reason = f"'{call.path}' broadcasts it over channels"
    joined = tracer.join(*(channels for channels, _ in layouts), reason=reason)
    tracer.set(call.outputs[0], joined, axes.pop())
    return True


def _concatenate(tracer: ChannelTracer, call: Call) -> bool:
    axis = call.layer.axis % len(call.outputs[0].shape)
    if all(tracer.layout(x)[1] != axis for x in call.inputs):
        return _combine(tracer, call)
    tracer.set(call.outputs[0], np.concatenate([tracer.get(x, axis) for x in call.inputs]), axis)
    return True


def _flatten(tracer: ChannelTracer, call: Call) -> bool:
    return _flat(tracer, call, moved=call.layer.data_format == "channels_first")


def _flat(tracer: ChannelTracer, call: Call, moved: bool = False) -> bool:
    """Trace a reshape to one axis, for which axis 1 may be moved to the end."""
    (x,) = call.inputs
    channels, axis = tracer.layout(x)
    last = len(x.shape) - 1
    if None in x.shape[1:]:
        return False
    positions = math.prod(x.shape[1:]) // max(len(channels), 1)
    if (axis == last and (last == 1 or not moved)) or (axis == 1 and moved):
        tracer.set(call.outputs[0], np.tile(channels, positions))
    elif axis == 1:
        tracer.set(call.outputs[0], np.repeat(channels, positions))
    else:
        return False
    return True


def _reshape(tracer: ChannelTracer, call: Call) -> bool:
    (x,), target = call.inputs, tuple(call.layer.target_shape)
    channels, axis = tracer.layout(x)
    (output,) = call.outputs
    if None in x.shape[1:] or -1 in target[:-1]:
        return False
    if len(target) == 1:
        traced, place = _flat(tracer, call), 0
    elif axis == len(x.shape) - 1 and output.shape[-1] == len(channels):
        traced, place = _series(tracer, call), len(target) - 1
    elif axis == 1 and output.shape[1] == len(channels):
        tracer.set(output, channels, 1)
        traced, place = True, 0
    else:
        return False
    before, after = target[:place], target[place + 1 :]
    found, _ = tracer.layout(output)
    tracer.resize(call, "target_shape", found, lambda count: (*before, count, *after))
    return traced


def _normalize(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a layer that computes statistics over the channels, so none can be removed."""
    reason = f"'{call.path}' ({type(call.layer).__name__}) computes over all channels"
    tracer.pin_all(call.inputs[:1], reason)
    return _same(tracer, call)


def _mean(tracer: ChannelTracer, call: Call) -> bool:
    operation, (x,) = call.layer, call.inputs
    channels, place = tracer.layout(x)
    rank = len(x.shape)
    axes = operation.axis if isinstance(operation.axis, (list, tuple)) else [operation.axis]
    if None in axes or {axis % rank for axis in axes} & {0, place}:
        return False
    after = sum(axis % rank > place for axis in axes)
    tracer.set(call.outputs[0], channels, place - rank + (0 if operation.keepdims else after))
    return True


def _classes(*names: str) -> list[type]:
    return [getattr(layers, name) for name in names]


def _by_dimension(*names: str, up_to: int = 3) -> list[type]:
    return _classes(*(f"{name}{n}D" for name in names for n in range(1, up_to + 1)))


_LAYERS: dict[type, Rule] = {
    **dict.fromkeys(_by_dimension("Conv"), weight_rules.trace_convolution),
    **dict.fromkeys(
        _classes("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
        weight_rules.trace_transposed,
    ),
    **dict.fromkeys(_by_dimension("DepthwiseConv", up_to=2), weight_rules.trace_depthwise),
    **dict.fromkeys(_by_dimension("SeparableConv", up_to=2), weight_rules.trace_separable),
    **dict.fromkeys(_classes("LSTM", "GRU", "SimpleRNN"), weight_rules.trace_recurrent),
    layers.Bidirectional: weight_rules.trace_bidirectional,
    layers.Dense: weight_rules.trace_dense,
    layers.EinsumDense: weight_rules.trace_einsum,
    layers.Embedding: weight_rules.trace_embedding,
    layers.MultiHeadAttention: weight_rules.trace_attention,
    layers.BatchNormalization: weight_rules.trace_batch_norm,
    layers.PReLU: weight_rules.trace_prelu,
    layers.Activation: _activation,
    layers.Rescaling: _rescaling,
    layers.Concatenate: _concatenate,
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    **dict.fromkeys(
        _classes("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), _combine
    ),
    **dict.fromkeys(
        _classes("LayerNormalization", "RMSNormalization", "GroupNormalization", "Softmax"),
        _normalize,
    ),
    **dict.fromkeys(
        _classes("ReLU", "LeakyReLU", "ELU", "Identity", "Dropout", "GaussianNoise"), _same
    ),
    **dict.fromkeys(_classes("GaussianDropout", "ActivityRegularization"), _same),
    **dict.fromkeys(
        _by_dimension("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling"),
        _spatial,
    ),
    **dict.fromkeys(
        [layers.UpSampling2D, layers.UpSampling3D, layers.ZeroPadding2D, layers.ZeroPadding3D],
        _spatial,
    ),
    **dict.fromkeys([layers.Cropping2D, layers.Cropping3D, layers.Resizing], _spatial),
    **dict.fromkeys(_classes("UpSampling1D", "ZeroPadding1D", "Cropping1D"), _series),
    **dict.fromkeys(_by_dimension("SpatialDropout"), _same),
}
_OPERATIONS: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Divide"), _combine),
    **dict.fromkeys(("Relu", "Relu6", "Sigmoid", "Silu", "Gelu", "Tanh", "Elu"), _same),
    **dict.fromkeys(("HardSigmoid", "HardSilu", "Softplus", "LeakyRelu", "Square", "Abs"), _same),
    "Mean": _mean,
}
