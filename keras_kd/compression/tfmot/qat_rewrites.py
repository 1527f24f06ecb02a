"""Rewrites of a graph for quantization-aware training that do not change what it computes."""

from collections.abc import Collection
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.compression.tfmot.rewrites import (
    Replacements,
    copy_with,
    exclusive_maker,
    fuse_relu,
    is_linear,
    is_relu,
    split_activations,
)
from keras_kd.models.graph import Call, Graph
from keras_kd.models.logits import COMPUTE_AND_ACTIVATE

#: Activations inside a layer that tensorflow-model-optimization quantizes as a file does.
_FUSED = (keras.activations.linear, keras.activations.relu)
#: End of the name of a layer that only rounds the output of the layer before it.
ROUNDING_SUFFIX = "_rounded"
#: Layers whose output the wrapper of tensorflow-model-optimization cannot round.
_ATTENTION = (
    keras.layers.MultiHeadAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
)
#: Layers that preprocess the input; they stay before the quantized part, also in the export.
_PREPROCESSING = (
    keras.layers.Rescaling,
    keras.layers.Normalization,
    keras.layers.Resizing,
    keras.layers.CenterCrop,
)


def rewrite_for_qat(
    graph: Graph, replacements: Replacements, keep: Collection[str]
) -> list[keras.KerasTensor]:
    """Rewrite a graph for quantization-aware training.

    - Layers that only preprocess the input stay before the quantized part.
    - A separable convolution becomes its two convolutions.
    - An activation that cannot be quantized inside its layer becomes a separate layer.
    - A batch norm that does not follow a convolution is folded into the dense layer or transposed
      convolution before it, or becomes a 1x1 depthwise convolution.
    - A ReLU after a convolution or dense layer becomes its activation. A ReLU6 there is separated
      from it, because tensorflow-model-optimization would leave the layer before it in float.

    The outputs of the layers in `keep` are preserved. Returns the tensors at which the quantized
    part starts, one per input.
    """
    starts = [_skip_preprocessing(graph, replacements, x, keep) for x in tree.flatten(graph.inputs)]
    split_activations(graph, replacements, _activations_to_split(graph))
    for path, calls in graph.calls.items():
        if isinstance(calls[0].layer, keras.layers.SeparableConv2D):
            separable, *rest = replacements.chain(path, calls[0].layer)
            chain = [*_split_separable(separable), *rest]
            replacements.replace(path, chain, "as its two convolutions")
    for path, calls in graph.calls.items():
        if isinstance(calls[0].layer, keras.layers.BatchNormalization):
            _rewrite_batch_norm(graph, replacements, path, calls, keep)
    fuse_relu(graph, replacements, keep)
    for path, calls in graph.calls.items():
        _rewrite_relu(graph, replacements, path, calls)
        if isinstance(calls[0].layer, _ATTENTION):
            rounding = keras.layers.Identity(name=f"{calls[0].layer.name}{ROUNDING_SUFFIX}")
            replacements.replace(path, [calls[0].layer, rounding], "")
    return starts


def _skip_preprocessing(
    graph: Graph, replacements: Replacements, tensor: keras.KerasTensor, keep: Collection[str]
) -> keras.KerasTensor:
    """Return the last tensor after an input to which only preprocessing layers were applied."""
    calls = [call for calls in graph.calls.values() for call in calls]
    users = [c for c in calls if not isinstance(c.layer, keras.Model) and _uses(c, tensor)]
    if len(users) != 1 or not isinstance(users[0].layer, _PREPROCESSING):
        return tensor
    (call,) = users
    if len(graph.calls[call.path]) > 1 or call.path in keep:
        return tensor
    replacements.notes[call.path] = "before the quantized part, in Keras 3"
    return _skip_preprocessing(graph, replacements, call.outputs[0], keep)


def _uses(call: Call, tensor: keras.KerasTensor) -> bool:
    return any(x is tensor for x in call.inputs)


def _activations_to_split(graph: Graph) -> list[Any]:
    layers = [calls[0].layer for calls in graph.calls.values()]
    return [
        x.activation
        for x in layers
        if isinstance(x, COMPUTE_AND_ACTIVATE) and x.activation not in _FUSED
    ]


def _split_separable(layer: keras.layers.SeparableConv2D) -> list[keras.layers.Layer]:
    """Return a separable convolution as a depthwise and a pointwise convolution."""
    config = layer.get_config()
    shared = {"data_format": config["data_format"], "trainable": layer.trainable}
    window = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    depthwise = keras.layers.DepthwiseConv2D(
        **{key: config[key] for key in window},
        **shared,
        use_bias=False,
        depthwise_regularizer=layer.depthwise_regularizer,
        depthwise_constraint=layer.depthwise_constraint,
        name=layer.name,
    )
    pointwise = keras.layers.Conv2D(
        layer.filters,
        1,
        **shared,
        use_bias=layer.use_bias,
        activation=layer.activation,
        kernel_regularizer=layer.pointwise_regularizer,
        bias_regularizer=layer.bias_regularizer,
        kernel_constraint=layer.pointwise_constraint,
        bias_constraint=layer.bias_constraint,
        name=f"{layer.name}_pointwise",
    )
    shape = layer.get_build_config()["input_shape"]
    depthwise.build(shape)
    pointwise.build(depthwise.compute_output_shape(shape))
    depthwise.set_weights([layer.depthwise_kernel])
    bias = [layer.bias] if layer.use_bias else []
    pointwise.set_weights([layer.pointwise_kernel, *bias])
    return [depthwise, pointwise]


def _rewrite_batch_norm(
    graph: Graph, replacements: Replacements, path: str, calls: list[Call], keep: Collection[str]
) -> None:
    """Fold or replace a batch norm that tensorflow-model-optimization does not support."""
    norm, rank = calls[0].layer, len(calls[0].inputs[0].shape)
    maker = exclusive_maker(graph, replacements, calls)
    last = replacements.chain(maker.path, maker.layer)[-1] if maker else None
    linear = isinstance(last, COMPUTE_AND_ACTIVATE) and is_linear(last)
    if norm.axis not in (-1, rank - 1) or rank not in (2, 4):
        return
    if linear and isinstance(last, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        return  # The supported pattern.
    scale, shift = _scale_and_shift(norm)
    foldable = linear and isinstance(last, keras.layers.Dense | keras.layers.Conv2DTranspose)
    if foldable and maker.path not in keep:
        *before, _ = replacements.chain(maker.path, maker.layer)
        chain = [*before, _fold(last, scale, shift)]
        replacements.replace(maker.path, chain, f"'{path}' folded into it")
        replacements.replace(path, [], f"folded into '{maker.path}'")
    else:
        chain = _as_convolution(norm, rank, scale, shift)
        replacements.replace(path, chain, "as a 1x1 depthwise convolution")


def _scale_and_shift(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and the summand of a batch norm in inference."""
    variance, mean = np.float64(norm.moving_variance), np.float64(norm.moving_mean)
    gamma = np.float64(norm.gamma) if norm.scale else np.ones_like(mean)
    beta = np.float64(norm.beta) if norm.center else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale


def _fold(layer: keras.layers.Layer, scale: np.ndarray, shift: np.ndarray) -> keras.layers.Layer:
    """Return a copy of a layer with the batch norm after it folded in."""
    folded = copy_with(layer) if layer.use_bias else _copy_with_bias(layer)
    # The kernel of a transposed convolution has its output channels before its input channels.
    shape = (-1, 1) if isinstance(layer, keras.layers.Conv2DTranspose) else (-1,)
    kernel, bias = (np.float64(weight) for weight in folded.get_weights())
    folded.set_weights([kernel * scale.reshape(shape), bias * scale + shift])
    return folded


def _copy_with_bias(layer: keras.layers.Layer) -> keras.layers.Layer:
    copy = type(layer).from_config({**layer.get_config(), "use_bias": True})
    copy.build(layer.get_build_config()["input_shape"])
    copy.kernel.assign(layer.kernel)
    return copy


def _as_convolution(
    norm: keras.layers.BatchNormalization, rank: int, scale: np.ndarray, shift: np.ndarray
) -> list[keras.layers.Layer]:
    """Return a batch norm as a depthwise convolution, which freezes its statistics."""
    channels = len(scale)
    name = norm.name if rank == 4 else f"{norm.name}_convolution"
    convolution = keras.layers.DepthwiseConv2D(1, name=name, trainable=norm.trainable)
    convolution.build((None, 1, 1, channels))
    convolution.set_weights([scale.reshape(1, 1, channels, 1), shift])
    if rank == 4:
        return [convolution]
    to_map = keras.layers.Reshape((1, 1, channels), name=norm.name)
    return [to_map, convolution, keras.layers.Reshape((channels,), name=f"{norm.name}_back")]


def _rewrite_relu(graph: Graph, replacements: Replacements, path: str, calls: list[Call]) -> None:
    """Give a ReLU that is not fused a form that can be quantized."""
    chain = replacements.chain(path, calls[0].layer)
    before = [_find_layer_before(graph, replacements, call) for call in calls]
    rewritten = []
    for layer in chain:
        limit = next((limit for limit in (None, 6.0) if is_relu(layer, limit)), 0)
        if limit != 0 and any(isinstance(x, COMPUTE_AND_ACTIVATE) for x in before):
            # A ReLU directly after a convolution or dense layer would leave that layer in float.
            rewritten.append(keras.layers.Activation("linear", name=f"{layer.name}_before"))
        if limit == 0 or isinstance(layer, keras.layers.ReLU):
            rewritten.append(layer)
        else:
            rewritten.append(keras.layers.ReLU(limit, name=layer.name))
        before = [layer]
    if [*map(id, rewritten)] != [*map(id, chain)]:
        replacements.replace(path, rewritten, "in a form that can be quantized")


def _find_layer_before(graph: Graph, replacements: Replacements, call: Call) -> Any:
    """Return the layer that makes the input of a call; fused layers are skipped."""
    maker = graph.maker(call.inputs[0])
    if maker is None:
        return None
    chain = replacements.chain(maker.path, maker.layer)
    return chain[-1] if chain else _find_layer_before(graph, replacements, maker)
