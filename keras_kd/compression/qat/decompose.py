"""Keras layers as chains of layers and ops, each of which LiteRT runs as one 8-bit op.

A function here takes the emitter, the call, and the call's tensors, and returns the output.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.compression.qat.emitter import Emitter
from keras_kd.compression.qat.folding import has_last_axis, scale_and_shift
from keras_kd.models.copy import copy_layer
from keras_kd.models.graph import Call
from keras_kd.models.keras_compat import get_mask


def decomposition(call: Call) -> Callable[..., Any] | None:
    """Return the function that decomposes a call, `None` if its layer stays one layer."""
    layer = call.layer
    if isinstance(layer, keras.layers.Layer):
        if type(layer) is keras.layers.Activation:
            return _activation if layer.activation in _ACTIVATIONS else None
        found = None if _passes_mask(call) else _LAYERS.get(type(layer))
        return found[1] if found and found[0](call) else None
    return _OPERATIONS.get(type(layer).__name__)


def _passes_mask(call: Call) -> bool:
    """Return whether a layer passes on a mask, which reshapes in its place would drop."""
    return call.layer.supports_masking and any(get_mask(x) is not None for x in call.inputs)


def activate(emit: Emitter, path: str, function: Callable[..., Any], x: Any) -> Any:
    """Return an activation of a tensor, as chains of layers."""
    if function in _ACTIVATIONS:
        return _ACTIVATIONS[function](emit, path, x)
    return emit.layer(path, "", keras.layers.Activation, activation=function, dtype="float32")(x)


def emit_kernel(
    emit: Emitter,
    call: Call,
    make: Callable[..., Any],
    arguments: Mapping[str, Any],
    weights: Sequence[np.ndarray],
    x: Any,
) -> Any:
    """Return the output of a layer with weights, whose activation is a layer of its own."""
    activation = call.layer.activation
    linear = activation is keras.activations.linear
    x = emit.layer(call.path, "" if linear else "linear", make, weights, **arguments)(x)
    return x if linear else activate(emit, call.path, activation, x)


def copy_kernel(emit: Emitter, call: Call, x: Any) -> Any:
    """Return the output of a copy of a layer with weights; see `emit_kernel`."""
    weights = emit.weights(call)
    changes = {"activation": "linear", "use_bias": call.layer.use_bias, "dtype": "float32"}
    if call.path in emit.norms:
        changes |= {"use_bias": True, "kernel_regularizer": None, "kernel_constraint": None}
        if isinstance(call.layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
            changes |= {"depthwise_regularizer": None, "depthwise_constraint": None}
            del changes["kernel_regularizer"], changes["kernel_constraint"]
    make = functools.partial(copy_layer, call.layer)
    return emit_kernel(emit, call, make, changes, weights, x)


def _relu(emit: Emitter, path: str, x: Any) -> Any:
    return emit.layer(path, "", keras.layers.ReLU, dtype="float32")(x)


def _relu6(emit: Emitter, path: str, x: Any) -> Any:
    return emit.layer(path, "", keras.layers.ReLU, max_value=6.0, dtype="float32")(x)


def _silu(emit: Emitter, path: str, x: Any) -> Any:
    gate = emit.layer(path, "gate", keras.layers.Activation, activation="sigmoid", dtype="float32")
    return emit.layer(path, "", keras.layers.Multiply, dtype="float32")([x, gate(x)])


def _hard_sigmoid(emit: Emitter, path: str, x: Any) -> Any:
    clipped = emit.layer(path, "clipped", keras.layers.ReLU, max_value=6.0, dtype="float32")
    # `Rescaling` has a name, which an op made by its function has not.
    return emit.layer(path, "", keras.layers.Rescaling, scale=1 / 6)(clipped(x + 3.0))


# The score of a position that attention ignores.
_MASKED = -1e9
_ACTIVATIONS = {
    keras.activations.relu: _relu,
    keras.activations.relu6: _relu6,
    keras.activations.silu: _silu,
    keras.activations.hard_sigmoid: _hard_sigmoid,
}


def _activation(emit: Emitter, call: Call, x: Any) -> Any:
    return activate(emit, call.path, call.layer.activation, x)


def _operation(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda emit, call, x, *_, **__: activate(emit, call.path, function, x)


def _divide(emit: Emitter, call: Call, x: Any, divisor: Any) -> Any:
    if isinstance(divisor, int | float) and not isinstance(x, int | float):
        return emit.layer(call.path, "", keras.layers.Rescaling, scale=1 / divisor)(x)
    return emit.copy(call)(x, divisor)


_OPERATIONS = {
    "Relu": _operation(keras.activations.relu),
    "Relu6": _operation(keras.activations.relu6),
    "Silu": _operation(keras.activations.silu),
    "HardSigmoid": _operation(keras.activations.hard_sigmoid),
    "Divide": _divide,
    "TrueDivide": _divide,
}


def _separable(emit: Emitter, call: Call, x: Any) -> Any:
    """Emit a separable convolution as a depthwise and a pointwise convolution."""
    layer, path = call.layer, call.path
    one = isinstance(layer, keras.layers.SeparableConv1D)
    config = layer.get_config()
    shared = {"dtype": "float32", "trainable": layer.trainable, "use_bias": False}
    window = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    x = emit.layer(
        path,
        "depthwise",
        keras.layers.DepthwiseConv1D if one else keras.layers.DepthwiseConv2D,
        [layer.depthwise_kernel],
        **shared,
        **{key: config[key] for key in window},
        depthwise_regularizer=layer.depthwise_regularizer,
        depthwise_constraint=layer.depthwise_constraint,
    )(x)
    weights = emit.weights(call)[1:]
    pointwise = keras.layers.Conv1D if one else keras.layers.Conv2D
    shared |= {"filters": layer.filters, "kernel_size": 1, "use_bias": len(weights) > 1}
    return emit_kernel(emit, call, pointwise, shared, weights, x)


def _batch_normalization(emit: Emitter, call: Call, x: Any) -> Any:
    """Emit a normalization as a 1x1 depthwise convolution."""
    scale, shift = scale_and_shift(call.layer)
    shape, channels = tuple(x.shape), len(scale)
    target = {2: (1, 1, channels), 3: (1, -1, channels)}.get(len(shape))
    if target:
        x = emit.layer(call.path, "map", keras.layers.Reshape, target_shape=target)(x)
    x = emit.layer(
        call.path,
        "convolution" if target else "",
        keras.layers.DepthwiseConv2D,
        [scale.reshape(1, 1, channels, 1), shift],
        kernel_size=1,
        trainable=call.layer.trainable,
        dtype="float32",
    )(x)
    if target:
        back = (channels,) if len(shape) == 2 else (-1, channels)
        x = emit.layer(call.path, "", keras.layers.Reshape, target_shape=back)(x)
    return x


def _average(emit: Emitter, call: Call, tensors: list[Any]) -> Any:
    x = emit.layer(call.path, "sum", keras.layers.Add, dtype="float32")(tensors)
    return emit.layer(call.path, "", keras.layers.Rescaling, scale=1 / len(tensors))(x)


def _dense_shapes(layer: keras.layers.EinsumDense) -> tuple[int, tuple[int, ...]] | None:
    """Return how many axes an einsum contracts and the axes that it adds, at the end of both."""
    inputs, rest = layer.equation.replace("...", "").split(",")
    kernel, output = rest.split("->")
    contracted = [axis for axis in kernel if axis in inputs and axis not in output]
    added = [axis for axis in kernel if axis not in inputs]
    batch = inputs[: len(inputs) - len(contracted)]
    whole = (
        "".join(contracted) == inputs[len(batch) :]
        and output == batch + "".join(added)
        and kernel == "".join(contracted + added)
    )
    if not whole or not contracted or not added:
        return None
    shape = tuple(layer.kernel.shape[len(contracted) :])
    if layer.bias is not None and math.prod(layer.bias.shape) != math.prod(shape):
        return None
    return len(contracted), shape


def _einsum_dense(emit: Emitter, call: Call, x: Any) -> Any:
    """Emit a projection as a dense layer between reshapes."""
    count, added = _dense_shapes(call.layer)
    units = math.prod(added)
    kernel, *bias = emit.weights(call)
    weights = [np.reshape(kernel, (-1, units)), *(np.ravel(part) for part in bias)]
    if count > 1:
        before = tuple(x.shape[1:-count]), math.prod(x.shape[-count:])
        x = emit.layer(
            call.path, "flat", keras.layers.Reshape, target_shape=_free(before[0], before[1])
        )(x)
    made = {"units": units, "use_bias": bool(bias), "trainable": call.layer.trainable}
    made["dtype"] = "float32"
    shape = tuple(x.shape[1:-1])
    if len(added) == 1:
        return emit_kernel(emit, call, keras.layers.Dense, made, weights, x)
    x = emit.layer(call.path, "dense", keras.layers.Dense, weights, **made)(x)
    return emit.layer(call.path, "", keras.layers.Reshape, target_shape=_free(shape, *added))(x)


def _free(shape: tuple[int | None, ...], *rest: int) -> tuple[int, ...]:
    """Return the target of a reshape, of which one size may be free."""
    return (*(-1 if size is None else size for size in shape), *rest)


def _attention(
    emit: Emitter,
    call: Call,
    query: Any,
    value: Any,
    key: Any = None,
    attention_mask: Any = None,
    use_causal_mask: bool = False,
    **_: Any,
) -> Any:
    """Emit attention over one axis: projections, two matrix products, and a softmax.

    The products stay in float: LiteRT rounds those of two 8-bit activations twice.
    """
    layer, path = call.layer, call.path
    key = value if key is None else key
    # The factor of the scores is a part of the query's weights.
    query = _project_heads(emit, call, "query", query, 1 / math.sqrt(layer.key_dim))
    query = ops.transpose(query, (0, 2, 1, 3))
    key = ops.transpose(_project_heads(emit, call, "key", key), (0, 2, 3, 1))
    value = ops.transpose(_project_heads(emit, call, "value", value), (0, 2, 1, 3))
    scores = ops.matmul(query, key)
    if use_causal_mask:
        scores = ops.where(np.tri(*scores.shape[-2:], dtype=bool), scores, _MASKED)
    if attention_mask is not None:
        allowed = ops.expand_dims(ops.cast(attention_mask, "bool"), 1)  # The same for all heads.
        scores = ops.where(allowed, scores, _MASKED)
    scores = emit.layer(path, "softmax", keras.layers.Softmax, dtype="float32")(scores)
    if layer.dropout:
        scores = emit.layer(path, "dropout", keras.layers.Dropout, rate=layer.dropout)(scores)
    x = ops.transpose(ops.matmul(scores, value), (0, 2, 1, 3))
    shape = (-1, layer.num_heads * x.shape[-1])
    x = emit.layer(path, "joined", keras.layers.Reshape, target_shape=shape)(x)
    kernel, *bias = [np.asarray(weight) for weight in layer.output_dense.weights]
    weights = [kernel.reshape(-1, kernel.shape[-1]), *bias]
    made = {"units": kernel.shape[-1], "use_bias": bool(bias), "trainable": layer.trainable}
    return emit.layer(path, "", keras.layers.Dense, weights, dtype="float32", **made)(x)


def _project_heads(emit: Emitter, call: Call, name: str, x: Any, factor: float = 1.0) -> Any:
    """Emit a projection of an attention and return the result by head: (batch, time, heads, size).

    Args:
        emit: The emitter.
        call: The call of the attention.
        name: `"query"`, `"key"` or `"value"`.
        x: The input.
        factor: What to multiply the weights with. Defaults to 1.
    """
    layer, dense = call.layer, getattr(call.layer, f"{name}_dense")
    kernel, *bias = [np.float64(weight) * factor for weight in dense.weights]
    weights = [kernel.reshape(len(kernel), -1), *(one.ravel() for one in bias)]
    made = {"units": weights[0].shape[1], "use_bias": bool(bias), "trainable": layer.trainable}
    x = emit.layer(call.path, name, keras.layers.Dense, weights, dtype="float32", **made)(x)
    shape = (-1, layer.num_heads, made["units"] // layer.num_heads)
    return emit.layer(call.path, f"{name}_heads", keras.layers.Reshape, target_shape=shape)(x)


def _is_plain_attention(call: Call) -> bool:
    """Return whether attention is over one axis, returns its output only, and names its masks.

    The mask that a tensor carries is not known before the model runs.
    """
    layer = call.layer
    masked = any(get_mask(x) is not None for x in call.inputs)
    extra = {
        name for name, value in call.kwargs.items() if value is not None and value is not False
    }
    causal = bool(call.kwargs.get("use_causal_mask"))
    return (
        not masked
        and not layer.get_config().get("use_gate")
        and layer.get_config().get("sliding_window") is None
        and len(call.args) <= 3
        and extra <= {"query", "value", "key", "training", "attention_mask", "use_causal_mask"}
        and all(len(x.shape) == 3 for x in call.inputs)
        and not (causal and None in [x.shape[1] for x in call.inputs])
        and len(layer.output_dense.kernel.shape) == 3
        and len(call.outputs) == 1
    )


def _is_projection(call: Call) -> bool:
    layer = call.layer
    found = _dense_shapes(layer)
    linear = layer.activation is keras.activations.linear
    free = [size for size in call.inputs[0].shape[1:] if size is None]
    return found is not None and (linear or len(found[1]) == 1) and len(free) <= 1


def _always(call: Call) -> bool:
    return True


def _has_square_strides(call: Call) -> bool:
    return call.layer.data_format == "channels_last"


#: The condition under which a layer is decomposed, and the function that does it.
_LAYERS = {
    keras.layers.Average: (_always, _average),
    keras.layers.BatchNormalization: (
        lambda call: has_last_axis(call) and len(call.inputs[0].shape) in (2, 3, 4),
        _batch_normalization,
    ),
    keras.layers.EinsumDense: (_is_projection, _einsum_dense),
    keras.layers.MultiHeadAttention: (_is_plain_attention, _attention),
    keras.layers.SeparableConv1D: (_has_square_strides, _separable),
    keras.layers.SeparableConv2D: (_has_square_strides, _separable),
}
