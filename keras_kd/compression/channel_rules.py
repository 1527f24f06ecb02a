"""What each kind of layer does with channels: one small function, one line in a table.

A rule gets the tracer and a call, and sets the channels of the call's outputs. It returns `False`
if it does not know the form of the call; then the layer is left whole, like a layer without a rule.
Rules are for the exact classes: a subclass may compute something else.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_kd.compression.channel_tracer import ChannelTracer
from keras_kd.models.graph import Call

Rule = Callable[[ChannelTracer, Call], bool]

#: Activations that compute each channel on its own.
_ELEMENTWISE = {
    *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish"),
    *("tanh", "hard_tanh", "tanh_shrink", "sigmoid", "hard_sigmoid", "hard_silu", "log_sigmoid"),
    *("softplus", "softsign", "exponential", "squareplus"),
}


def find_rule(operation: Any) -> Rule | None:
    """Return the rule of a layer or an operation of `keras.ops`."""
    kind = type(operation)
    if kind.__module__.startswith("keras.src.ops."):
        return _OPERATIONS.get(kind.__name__)
    return _LAYERS.get(kind)


def is_elementwise(activation: Any) -> bool:
    """Return whether an activation of Keras computes each channel on its own."""
    name = getattr(activation, "__name__", "")
    return name in _ELEMENTWISE and keras.activations.get(name) is activation


def _convolution(tracer: ChannelTracer, call: Call) -> bool:
    layer, (x,) = call.layer, call.inputs
    rank = len(layer.kernel.shape)
    plain = layer.data_format == "channels_last" and layer.groups == 1
    return plain and _project(tracer, call, x, "filters", (rank - 2, rank - 1))


def _transposed(tracer: ChannelTracer, call: Call) -> bool:
    layer, (x,) = call.layer, call.inputs
    rank = len(layer.kernel.shape)
    last = layer.data_format == "channels_last"
    return last and _project(tracer, call, x, "filters", (rank - 1, rank - 2))


def _dense(tracer: ChannelTracer, call: Call) -> bool:
    return _project(tracer, call, call.inputs[0], "units", (0, 1))


def _project(
    tracer: ChannelTracer,
    call: Call,
    x: keras.KerasTensor,
    argument: str,
    axes: tuple[int, int],
) -> bool:
    """Trace a layer whose kernel maps its input channels to new ones."""
    layer, channels = call.layer, tracer.get(x)
    plain = all("float" in w.dtype and "lora" not in w.name for w in layer.weights)
    if layer.kernel.shape[axes[0]] != len(channels) or not plain:
        return False
    seen = tracer.first_call(call, channels)
    if seen is None:
        made = tracer.make(layer.kernel.shape[axes[1]], call.path)
        tracer.use(call, layer.kernel, axes[0], channels, "in")
        tracer.use(call, layer.kernel, axes[1], made, "out")
        tracer.use(call, layer.bias, 0, made, "out")
        tracer.resize(call, argument, made)
        tracer.remember(call, channels, made)
        seen = (made,)
    return _set_activated(tracer, call, seen[0])


def _set_activated(tracer: ChannelTracer, call: Call, channels: np.ndarray) -> bool:
    """Set the channels that a layer made; an activation over all of them needs all."""
    if not is_elementwise(call.layer.activation):
        tracer.pin(channels, f"the activation of '{call.path}' combines channels")
    tracer.set(call.outputs[0], channels)
    return True


def _depthwise(tracer: ChannelTracer, call: Call) -> bool:
    layer, channels = call.layer, tracer.get(call.inputs[0])
    if layer.data_format != "channels_last" or not is_elementwise(layer.activation):
        return False
    made = np.repeat(channels, layer.depth_multiplier)
    if tracer.first_call(call, channels) is None:
        tracer.use(call, layer.kernel, len(layer.kernel.shape) - 2, channels, "each")
        tracer.use(call, layer.bias, 0, made, "each")
        tracer.remember(call, channels)
    tracer.set(call.outputs[0], made)
    return True


def _separable(tracer: ChannelTracer, call: Call) -> bool:
    layer, channels = call.layer, tracer.get(call.inputs[0])
    if layer.data_format != "channels_last":
        return False
    seen = tracer.first_call(call, channels)
    if seen is None:
        rank = len(layer.pointwise_kernel.shape)
        made = tracer.make(layer.filters, call.path)
        read = np.repeat(channels, layer.depth_multiplier)
        tracer.use(call, layer.depthwise_kernel, rank - 2, channels, "each")
        tracer.use(call, layer.pointwise_kernel, rank - 2, read, "in")
        tracer.use(call, layer.pointwise_kernel, rank - 1, made, "out")
        tracer.use(call, layer.bias, 0, made, "out")
        tracer.resize(call, "filters", made)
        tracer.remember(call, channels, made)
        seen = (made,)
    return _set_activated(tracer, call, seen[0])


def _embedding(tracer: ChannelTracer, call: Call) -> bool:
    layer = call.layer
    seen = tracer.first_call(call)
    if seen is None:
        made = tracer.make(layer.output_dim, call.path)
        tracer.use(call, layer.embeddings, 1, made, "out")
        tracer.resize(call, "output_dim", made)
        tracer.remember(call, made)
        seen = (made,)
    tracer.set(call.outputs[0], seen[0])
    return True


def _batch_norm(tracer: ChannelTracer, call: Call) -> bool:
    layer, (x,) = call.layer, call.inputs[:1]
    if layer.axis not in (-1, len(x.shape) - 1) or len(call.inputs) > 1:
        return False
    channels = tracer.get(x)
    if tracer.first_call(call, channels) is None:
        for weight in layer.weights:
            tracer.use(call, weight, 0, channels, "each")
        tracer.remember(call, channels)
    tracer.set(call.outputs[0], channels)
    return True


def _prelu(tracer: ChannelTracer, call: Call) -> bool:
    channels = tracer.get(call.inputs[0])
    if tracer.first_call(call, channels) is None:
        alpha = call.layer.alpha
        tracer.use(call, alpha, len(alpha.shape) - 1, channels, "each")
        tracer.remember(call, channels)
    tracer.set(call.outputs[0], channels)
    return True


def _attention(tracer: ChannelTracer, call: Call) -> bool:
    """Trace multi-head attention: the heads are channels of their own."""
    layer = call.layer
    known = {"query", "value", "key"}
    tensors = dict(zip(("query", "value", "key"), call.args, strict=False)) | {
        name: x for name, x in call.kwargs.items() if name in known and x is not None
    }
    if len(call.outputs) > 1 or not {"query", "value"} <= set(tensors):
        return False
    axes = layer.get_config()["attention_axes"]
    if len(tensors["query"].shape) != 3 or tuple(axes or [1]) != (1,):
        return False
    inputs = {name: tracer.get(tensors.get(name, tensors["value"])) for name in known}
    query, value, key = (inputs[name] for name in ("query", "value", "key"))
    seen = tracer.first_call(call, query, value, key)
    if seen is None:
        seen = (_attention_weights(tracer, call, query, value, key),)
        tracer.remember(call, query, value, key, *seen)
    tracer.set(call.outputs[0], seen[0])
    return True


def _attention_weights(
    tracer: ChannelTracer, call: Call, query: np.ndarray, value: np.ndarray, key: np.ndarray
) -> np.ndarray:
    """Note the weights of multi-head attention; return the channels of its output."""
    layer = call.layer
    heads = tracer.make(layer.num_heads, call.path, "heads")
    parts = ((layer.query_dense, query), (layer.key_dense, key), (layer.value_dense, value))
    for part, channels in parts:
        tracer.use(call, part.kernel, 0, channels, "in")
        tracer.use(call, part.kernel, 1, heads, "out")
        tracer.use(call, part.bias, 0, heads, "out")
    output = layer.output_dense
    made = tracer.make(output.kernel.shape[-1], call.path)
    tracer.use(call, output.kernel, 0, heads, "in")
    tracer.use(call, output.kernel, len(output.kernel.shape) - 1, made, "out")
    tracer.use(call, output.bias, 0, made, "out")
    tracer.resize(call, "num_heads", heads)
    if layer.get_config()["output_shape"] is None:  # Then it is that of the query.
        tracer.join(query, made)
    else:
        tracer.pin(made, f"'{call.path}' has an `output_shape`")
    return made


def _same(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a layer that computes each channel on its own, without weights."""
    tracer.set(call.outputs[0], tracer.get(call.inputs[0]))
    return True


def _same_if_last(tracer: ChannelTracer, call: Call) -> bool:
    return call.layer.data_format == "channels_last" and _same(tracer, call)


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
    channels = [tracer.get(x) for x in call.inputs]
    if len({len(x) for x in channels} - {1}) > 1:
        return False
    reason = f"'{call.path}' broadcasts it over channels"
    tracer.set(call.outputs[0], tracer.join(*channels, reason=reason))
    return True


def _concatenate(tracer: ChannelTracer, call: Call) -> bool:
    axis, rank = call.layer.axis, len(call.outputs[0].shape)
    if axis not in (-1, rank - 1):
        return _combine(tracer, call)
    tracer.set(call.outputs[0], np.concatenate([tracer.get(x) for x in call.inputs]))
    return True


def _flatten(tracer: ChannelTracer, call: Call) -> bool:
    if call.layer.data_format != "channels_last":
        return False
    return _tile(tracer, call)


def _tile(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a reshape to (batch, positions · channels)."""
    (x,) = call.inputs
    if None in x.shape[1:]:
        return False
    tracer.set(call.outputs[0], np.tile(tracer.get(x), math.prod(x.shape[1:-1])))
    return True


def _reshape(tracer: ChannelTracer, call: Call) -> bool:
    (x,), target = call.inputs, tuple(call.layer.target_shape)
    channels = tracer.get(x)
    if None in x.shape[1:] or -1 in target[:-1]:
        return False
    if len(target) == 1:
        traced = _tile(tracer, call)
    elif call.outputs[0].shape[-1] == len(channels):
        traced = _same(tracer, call)
    else:
        return False
    flat = tracer.get(call.outputs[0])
    tracer.resize(call, "target_shape", flat, lambda count: (*target[:-1], count))
    return traced


def _normalize(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a layer that computes statistics over the channels, so none can be removed."""
    reason = f"'{call.path}' ({type(call.layer).__name__}) computes over all channels"
    tracer.pin(tracer.get(call.inputs[0]), reason)
    return _same(tracer, call)


def _mean(tracer: ChannelTracer, call: Call) -> bool:
    operation, rank = call.layer, len(call.inputs[0].shape)
    axes = operation.axis if isinstance(operation.axis, (list, tuple)) else [operation.axis]
    known = None not in axes and all(axis % rank not in (0, rank - 1) for axis in axes)
    return known and _same(tracer, call)


def _classes(*names: str) -> list[type]:
    return [getattr(layers, name) for name in names]


def _by_dimension(*names: str, up_to: int = 3) -> list[type]:
    return _classes(*(f"{name}{n}D" for name in names for n in range(1, up_to + 1)))


_LAYERS: dict[type, Rule] = {
    **dict.fromkeys(_by_dimension("Conv"), _convolution),
    **dict.fromkeys(_classes("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _transposed),
    **dict.fromkeys(_by_dimension("DepthwiseConv", up_to=2), _depthwise),
    **dict.fromkeys(_by_dimension("SeparableConv", up_to=2), _separable),
    layers.Dense: _dense,
    layers.Embedding: _embedding,
    layers.MultiHeadAttention: _attention,
    layers.BatchNormalization: _batch_norm,
    layers.PReLU: _prelu,
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
        _same_if_last,
    ),
    **dict.fromkeys(
        [layers.UpSampling2D, layers.UpSampling3D, layers.ZeroPadding2D, layers.ZeroPadding3D],
        _same_if_last,
    ),
    **dict.fromkeys([layers.Cropping2D, layers.Cropping3D, layers.Resizing], _same_if_last),
    **dict.fromkeys(_classes("UpSampling1D", "ZeroPadding1D", "Cropping1D"), _same),
    **dict.fromkeys(_by_dimension("SpatialDropout"), _same),
}
_OPERATIONS: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Divide"), _combine),
    **dict.fromkeys(("Relu", "Relu6", "Sigmoid", "Silu", "Gelu", "Tanh", "Elu"), _same),
    **dict.fromkeys(("HardSigmoid", "HardSilu", "Softplus", "LeakyRelu", "Square", "Abs"), _same),
    "Mean": _mean,
}
