"""What layers with weights do with channels; `channel_rules` has the table."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_kd.compression.channel_tracer import ChannelTracer
from keras_kd.models.graph import Call

#: Activations that compute each channel on its own.
_ELEMENTWISE = {
    *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish"),
    *("tanh", "hard_tanh", "tanh_shrink", "sigmoid", "hard_sigmoid", "hard_silu", "log_sigmoid"),
    *("softplus", "softsign", "exponential", "squareplus"),
}
_RECURRENT = (layers.LSTM, layers.GRU, layers.SimpleRNN)


def is_elementwise(activation: Any) -> bool:
    """Return whether an activation of Keras computes each channel on its own."""
    name = getattr(activation, "__name__", "")
    return name in _ELEMENTWISE and keras.activations.get(name) is activation


def channel_axis(layer: Any) -> int:
    """Return the axis of the channels in the `data_format` of a layer."""
    return 1 if layer.data_format == "channels_first" else -1


def trace_convolution(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a convolution."""
    layer, rank = call.layer, len(call.layer.kernel.shape)
    if layer.groups > 1:
        return _grouped(tracer, call)
    return _project(tracer, call, "filters", (rank - 2, rank - 1), axis=channel_axis(layer))


def trace_transposed(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a transposed convolution."""
    layer, rank = call.layer, len(call.layer.kernel.shape)
    return _project(tracer, call, "filters", (rank - 1, rank - 2), axis=channel_axis(layer))


def trace_dense(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a dense layer."""
    return _project(tracer, call, "units", (0, 1))


def trace_einsum(tracer: ChannelTracer, call: Call) -> bool:
    """Trace an `EinsumDense` whose kernel reads the last axis of its input and makes a new one."""
    layer = call.layer
    given, kernel, result = re.split(",|->", layer.equation.replace(" ", ""))
    old, new = given[-1], result[-1]
    if old not in kernel or new not in kernel or old in result or new in given:
        return False
    *sizes, _ = np.atleast_1d(layer.get_config()["output_shape"]).tolist()
    axes = (kernel.index(old), kernel.index(new))
    return _project(tracer, call, "output_shape", axes, make=lambda count: (*sizes, count))


def _project(
    tracer: ChannelTracer,
    call: Call,
    argument: str,
    axes: tuple[int, int],
    axis: int = -1,
    make: Callable[[int], Any] = int,
) -> bool:
    """Trace a layer whose kernel maps its input channels to new ones."""
    layer, channels = call.layer, tracer.get(call.inputs[0], axis)
    plain = all("float" in w.dtype and "lora" not in w.name for w in layer.weights)
    if layer.kernel.shape[axes[0]] != len(channels) or not plain:
        return False
    seen = tracer.first_call(call, channels)
    if seen is None:
        made = tracer.make(layer.kernel.shape[axes[1]], call.path)
        tracer.use(call, layer.kernel, axes[0], channels, "in")
        tracer.use(call, layer.kernel, axes[1], made, "out")
        if layer.bias is not None and layer.bias.shape[-1] == len(made):
            tracer.use(call, layer.bias, -1, made, "out")
        tracer.resize(call, argument, made, make)
        tracer.remember(call, channels, made)
        seen = (made,)
    return _set_activated(tracer, call, seen[0], axis)


def _set_activated(tracer: ChannelTracer, call: Call, channels: np.ndarray, axis: int = -1) -> bool:
    """Set the channels that a layer made; an activation over all of them needs all."""
    if not is_elementwise(call.layer.activation):
        tracer.pin(channels, f"the activation of '{call.path}' combines channels")
    tracer.set(call.outputs[0], channels, axis)
    return True


def _grouped(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a convolution of several groups, of which whole ones are removed."""
    layer, axis = call.layer, channel_axis(call.layer)
    channels = tracer.get(call.inputs[0], axis)
    seen = tracer.first_call(call, channels)
    if seen is None:
        units = tracer.make(layer.groups, call.path, "groups")
        made = np.repeat(units, layer.filters // layer.groups)
        for part in channels.reshape(layer.groups, -1).T:
            tracer.join(units, part)
        for role in ("in", "out"):
            tracer.use(call, layer.kernel, -1, made, role)
        tracer.use(call, layer.bias, 0, made, "out")
        tracer.resize(call, "filters", made)
        tracer.resize(call, "groups", units)
        tracer.remember(call, channels, made)
        seen = (made,)
    return _set_activated(tracer, call, seen[0], axis)


def trace_depthwise(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a depthwise convolution."""
    layer, axis = call.layer, channel_axis(call.layer)
    if not is_elementwise(layer.activation):
        return False
    channels = tracer.get(call.inputs[0], axis)
    made = np.repeat(channels, layer.depth_multiplier)
    if tracer.first_call(call, channels) is None:
        tracer.use(call, layer.kernel, -2, channels, "each")
        tracer.use(call, layer.bias, 0, made, "each")
        tracer.remember(call, channels)
    tracer.set(call.outputs[0], made, axis)
    return True


def trace_separable(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a depthwise convolution with a pointwise one after it."""
    layer, axis = call.layer, channel_axis(call.layer)
    channels = tracer.get(call.inputs[0], axis)
    seen = tracer.first_call(call, channels)
    if seen is None:
        made = tracer.make(layer.filters, call.path)
        read = np.repeat(channels, layer.depth_multiplier)
        tracer.use(call, layer.depthwise_kernel, -2, channels, "each")
        tracer.use(call, layer.pointwise_kernel, -2, read, "in")
        tracer.use(call, layer.pointwise_kernel, -1, made, "out")
        tracer.use(call, layer.bias, 0, made, "out")
        tracer.resize(call, "filters", made)
        tracer.remember(call, channels, made)
        seen = (made,)
    return _set_activated(tracer, call, seen[0], axis)


def trace_embedding(tracer: ChannelTracer, call: Call) -> bool:
    """Trace an embedding."""
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


def trace_batch_norm(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a batch normalization."""
    if len(call.inputs) > 1:
        return False
    layer, (x,) = call.layer, call.inputs
    channels = tracer.get(x, layer.axis)
    if tracer.first_call(call, channels) is None:
        for weight in layer.weights:
            tracer.use(call, weight, 0, channels, "each")
        tracer.remember(call, channels)
    tracer.set(call.outputs[0], channels, layer.axis)
    return True


def trace_prelu(tracer: ChannelTracer, call: Call) -> bool:
    """Trace an activation with a slope for each channel, or one for all."""
    channels, axis = tracer.layout(call.inputs[0])
    if tracer.first_call(call, channels) is None:
        alpha = call.layer.alpha
        if alpha.shape[axis - 1] == len(channels):
            tracer.use(call, alpha, axis - 1, channels, "each")
        tracer.remember(call, channels)
    tracer.set(call.outputs[0], channels, axis)
    return True


def trace_recurrent(tracer: ChannelTracer, call: Call) -> bool:
    """Trace a recurrent layer."""
    x, *states = call.inputs
    if call.layer.stateful or call.kwargs.get("mask") is not None:
        return False
    made = _units(tracer, call, tracer.get(x))
    tracer.resize(call, "units", made)
    for state in states:
        tracer.join(made, tracer.get(state))
    for output in call.outputs:
        tracer.set(output, made)
    return True


def trace_bidirectional(tracer: ChannelTracer, call: Call) -> bool:
    """Trace two recurrent layers, whose outputs are merged."""
    layer = call.layer
    parts = {"layer": layer.forward_layer, "backward_layer": layer.backward_layer}
    known = all(type(part) in _RECURRENT and not part.stateful for part in parts.values())
    if not known or len(call.inputs) > 1 or len(call.outputs) > 1:
        return False
    channels, both = tracer.get(call.inputs[0]), []
    for argument, part in parts.items():
        one = dataclasses.replace(call, layer=part, path=f"{call.path}/{part.name}")
        both.append(_units(tracer, one, channels))
        config = layer.get_config()[argument]
        tracer.resize(call, argument, both[-1], lambda n, config=config: _with_units(config, n))
    merge = np.concatenate if layer.merge_mode == "concat" else lambda both: tracer.join(*both)
    tracer.set(call.outputs[0], merge(both))
    return True


def _with_units(config: dict[str, Any], units: int) -> dict[str, Any]:
    """Return a serialized recurrent layer with another number of units."""
    unbuilt = {key: value for key, value in config.items() if key != "build_config"}
    return {**unbuilt, "config": {**config["config"], "units": units}}


def _units(tracer: ChannelTracer, call: Call, channels: np.ndarray) -> np.ndarray:
    """Return the units of a recurrent layer; each reads all of them one step later."""
    seen = tracer.first_call(call, channels)
    if seen is not None:
        return seen[0]
    cell = call.layer.cell
    made = tracer.make(cell.units, call.path)
    gates = np.tile(made, cell.kernel.shape[1] // cell.units)
    tracer.use(call, cell.kernel, 0, channels, "in")
    tracer.use(call, cell.kernel, 1, gates, "out")
    tracer.use(call, cell.recurrent_kernel, 0, made, "in")
    tracer.use(call, cell.recurrent_kernel, 1, gates, "out")
    tracer.use(call, cell.bias, -1, gates, "out")
    tracer.remember(call, channels, made)
    activations = [cell.activation, getattr(cell, "recurrent_activation", cell.activation)]
    if not all(map(is_elementwise, activations)):
        tracer.pin(made, f"the activation of '{call.path}' combines channels")
    return made


def trace_attention(tracer: ChannelTracer, call: Call) -> bool:
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
    tracer.use(call, output.kernel, -1, made, "out")
    tracer.use(call, output.bias, 0, made, "out")
    tracer.resize(call, "num_heads", heads)
    if layer.get_config()["output_shape"] is None:  # Then it is that of the query.
        tracer.join(query, made)
    else:
        tracer.pin(made, f"'{call.path}' has an `output_shape`")
    return made
