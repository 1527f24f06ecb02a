"""Patterns that quantization-aware training cannot take, turned into equal ones that it can."""

from collections.abc import Collection
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.compression.tfmot.rewrites import (
    Chains,
    fuse_relu,
    is_linear,
    is_relu,
    only_source,
    split_activations,
    with_arguments,
)
from keras_kd.models.graph import Call, Graph
from keras_kd.models.logits import COMPUTE_AND_ACTIVATE

#: Activations inside a layer that tensorflow-model-optimization quantizes as a file does.
_FUSED = (keras.activations.linear, keras.activations.relu)
#: Ends the name of what only rounds what the layer before it gives.
ROUNDED = "_rounded"
#: Layers whose output tfmot's wrapper cannot round itself.
_OF_SEVERAL = (
    keras.layers.MultiHeadAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
)
#: Layers that prepare the input; they stay before the quantized part, in the export too.
_PREPARING = (
    keras.layers.Rescaling,
    keras.layers.Normalization,
    keras.layers.Resizing,
    keras.layers.CenterCrop,
)


def mend(graph: Graph, chains: Chains, keep: Collection[str]) -> list[keras.KerasTensor]:
    """Rewrites a graph for quantization-aware training, computing exactly the same.

    - Layers that only prepare the input stay before the quantized part.
    - A separable convolution becomes its two convolutions.
    - An activation that cannot be quantized inside its layer becomes a layer of its own.
    - A batch norm that does not follow a convolution is folded into the dense layer or transposed
      convolution before it, or becomes a depthwise convolution of a single place.
    - A ReLU behind a convolution or dense layer becomes its activation; a ReLU6 there is kept apart
      from it, because tfmot would leave the layer before it in float.

    Args:
        graph: The opened graph.
        chains: Where the changes are noted.
        keep: Paths of layers whose own output is wanted.

    Returns:
        The tensors at which the quantized part begins, one for each input.
    """
    starts = [_prepared(graph, chains, x, keep) for x in tree.flatten(graph.inputs)]
    split_activations(graph, chains, _not_fused(graph))
    for path, calls in graph.calls.items():
        if isinstance(calls[0].layer, keras.layers.SeparableConv2D):
            separable, *rest = chains.of(path, calls[0].layer)
            chains.change(path, [*_two(separable), *rest], "as its two convolutions")
    for path, calls in graph.calls.items():
        if isinstance(calls[0].layer, keras.layers.BatchNormalization):
            _mend_norm(graph, chains, path, calls, keep)
    fuse_relu(graph, chains, keep)
    for path, calls in graph.calls.items():
        _mend_relu(graph, chains, path, calls)
        if isinstance(calls[0].layer, _OF_SEVERAL):
            rounded = keras.layers.Identity(name=f"{calls[0].layer.name}{ROUNDED}")
            chains.change(path, [calls[0].layer, rounded], "")
    return starts


def _prepared(
    graph: Graph, chains: Chains, tensor: keras.KerasTensor, keep: Collection[str]
) -> keras.KerasTensor:
    """The last tensor behind an input that only preparing layers have seen."""
    calls = [call for calls in graph.calls.values() for call in calls]
    users = [c for c in calls if not isinstance(c.layer, keras.Model) and _takes(c, tensor)]
    if len(users) != 1 or not isinstance(users[0].layer, _PREPARING):
        return tensor
    (call,) = users
    if len(graph.calls[call.path]) > 1 or call.path in keep:
        return tensor
    chains.notes[call.path] = "before the quantized part, in Keras 3"
    return _prepared(graph, chains, call.outputs[0], keep)


def _takes(call: Call, tensor: keras.KerasTensor) -> bool:
    return any(x is tensor for x in call.inputs)


def _not_fused(graph: Graph) -> list[Any]:
    layers = [calls[0].layer for calls in graph.calls.values()]
    return [
        x.activation
        for x in layers
        if isinstance(x, COMPUTE_AND_ACTIVATE) and x.activation not in _FUSED
    ]


def _two(layer: keras.layers.SeparableConv2D) -> list[keras.layers.Layer]:
    """A separable convolution as a depthwise and a pointwise one."""
    config = layer.get_config()
    both = {"data_format": config["data_format"], "trainable": layer.trainable}
    window = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    depthwise = keras.layers.DepthwiseConv2D(
        **{key: config[key] for key in window},
        **both,
        use_bias=False,
        depthwise_regularizer=layer.depthwise_regularizer,
        depthwise_constraint=layer.depthwise_constraint,
        name=layer.name,
    )
    pointwise = keras.layers.Conv2D(
        layer.filters,
        1,
        **both,
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


def _mend_norm(
    graph: Graph, chains: Chains, path: str, calls: list[Call], keep: Collection[str]
) -> None:
    """Deals with a batch norm, where tfmot has no way of its own."""
    norm, rank = calls[0].layer, len(calls[0].inputs[0].shape)
    maker = only_source(graph, chains, calls)
    last = chains.of(maker.path, maker.layer)[-1] if maker else None
    linear = isinstance(last, COMPUTE_AND_ACTIVATE) and is_linear(last)
    if norm.axis not in (-1, rank - 1) or rank not in (2, 4):
        return
    if linear and isinstance(last, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        return  # What tfmot takes.
    scale, shift = _affine(norm)
    foldable = linear and isinstance(last, keras.layers.Dense | keras.layers.Conv2DTranspose)
    if foldable and maker.path not in keep:
        *before, _ = chains.of(maker.path, maker.layer)
        folded = [*before, _folded(last, scale, shift)]
        chains.change(maker.path, folded, f"'{path}' folded into it")
        chains.change(path, [], f"folded into '{maker.path}'")
    else:
        note = "as a depthwise convolution of a single place"
        chains.change(path, _as_convolution(norm, rank, scale, shift), note)


def _affine(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm multiplies with and adds, in inference."""
    variance, mean = np.float64(norm.moving_variance), np.float64(norm.moving_mean)
    gamma = np.float64(norm.gamma) if norm.scale else np.ones_like(mean)
    beta = np.float64(norm.beta) if norm.center else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale


def _folded(layer: keras.layers.Layer, scale: np.ndarray, shift: np.ndarray) -> keras.layers.Layer:
    """A layer with a batch norm behind it, in one."""
    folded = with_arguments(layer, use_bias=True) if layer.use_bias else _with_bias(layer)
    # The output channels of a transposed convolution come before its input channels.
    shape = (-1, 1) if isinstance(layer, keras.layers.Conv2DTranspose) else (-1,)
    kernel, bias = (np.float64(weight) for weight in folded.get_weights())
    folded.set_weights([kernel * scale.reshape(shape), bias * scale + shift])
    return folded


def _with_bias(layer: keras.layers.Layer) -> keras.layers.Layer:
    copy = type(layer).from_config({**layer.get_config(), "use_bias": True})
    copy.build(layer.get_build_config()["input_shape"])
    copy.kernel.assign(layer.kernel)
    return copy


def _as_convolution(
    norm: keras.layers.BatchNormalization, rank: int, scale: np.ndarray, shift: np.ndarray
) -> list[keras.layers.Layer]:
    """A batch norm as a convolution of each channel for itself; its statistics are frozen."""
    channels = len(scale)
    name = norm.name if rank == 4 else f"{norm.name}_convolution"
    convolution = keras.layers.DepthwiseConv2D(1, name=name, trainable=norm.trainable)
    convolution.build((None, 1, 1, channels))
    convolution.set_weights([scale.reshape(1, 1, channels, 1), shift])
    if rank == 4:
        return [convolution]
    there = keras.layers.Reshape((1, 1, channels), name=norm.name)
    return [there, convolution, keras.layers.Reshape((channels,), name=f"{norm.name}_back")]


def _mend_relu(graph: Graph, chains: Chains, path: str, calls: list[Call]) -> None:
    """Gives a ReLU that is not fused a form that tfmot quantizes."""
    chain = chains.of(path, calls[0].layer)
    before = [_layer_before(graph, chains, call) for call in calls]
    changed = []
    for link in chain:
        limit = next((limit for limit in (None, 6.0) if is_relu(link, limit)), 0)
        relu = link if limit == 0 else keras.layers.ReLU(limit, name=link.name)
        if limit != 0 and any(isinstance(layer, COMPUTE_AND_ACTIVATE) for layer in before):
            # Directly behind a convolution or dense layer tfmot would leave that layer in float.
            changed.append(keras.layers.Activation("linear", name=f"{link.name}_before"))
        changed.append(relu if not isinstance(link, keras.layers.ReLU) else link)
        before = [link]
    if [*map(id, changed)] != [*map(id, chain)]:
        chains.change(path, changed, "in a form that can be quantized")


def _layer_before(graph: Graph, chains: Chains, call: Call) -> Any:
    """The layer that makes what a call takes, those that were left out looked through."""
    maker = graph.maker(call.inputs[0])
    if maker is None:
        return None
    chain = chains.of(maker.path, maker.layer)
    return chain[-1] if chain else _layer_before(graph, chains, maker)
