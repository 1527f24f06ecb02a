"""Batch normalization in inference as a factor and a summand per channel, folded into kernels."""

from collections.abc import Collection

import keras
import numpy as np

from keras_kd.models.graph import Call, Graph, is_graph
from keras_kd.models.logits import COMPUTE_AND_ACTIVATE

_FOLDABLE = tuple(
    layer
    for layer in COMPUTE_AND_ACTIVATE
    if layer not in (keras.layers.Conv3D, keras.layers.Conv3DTranspose, keras.layers.EinsumDense)
)
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def find_folds(graph: Graph, keep: Collection[str]) -> dict[str, str]:
    """Return which batch normalization can be folded into which layer.

    Args:
        graph: The graph of a model.
        keep: Paths of layers into which nothing is folded.

    Returns:
        The path of the normalization by the path of the layer before it.
    """
    calls = [call for calls in graph.calls.values() for call in calls if not is_graph(call.layer)]
    users: dict[int, int] = {}
    outputs = keras.tree.flatten(graph.outputs)
    for tensor in [*(x for call in calls for x in call.inputs), *outputs]:
        users[id(tensor)] = users.get(id(tensor), 0) + 1
    folds = {}
    for call in calls:
        if isinstance(call.layer, keras.layers.BatchNormalization):
            maker = graph.maker(call.inputs[0])
            if (
                maker is not None
                and users[id(call.inputs[0])] == 1
                and _is_called_once(graph, maker, call)
                and not {maker.path, call.path} & set(keep)
                and _can_fold(maker.layer, call)
            ):
                folds[maker.path] = call.path
    return folds


def has_last_axis(call: Call) -> bool:
    """Return whether a batch normalization is over the last axis."""
    rank = len(call.inputs[0].shape)
    return call.layer.axis in (-1, rank - 1)


def scale_and_shift(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and the summand of a batch normalization in inference, in float64."""
    variance, mean = np.float64(norm.moving_variance), np.float64(norm.moving_mean)
    gamma = np.float64(norm.gamma) if norm.scale else np.ones_like(mean)
    beta = np.float64(norm.beta) if norm.center else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale


def fold(
    layer: keras.layers.Layer, weights: list[np.ndarray], norm: keras.layers.BatchNormalization
) -> list[np.ndarray]:
    """Return the weights of a layer, with a bias, after which a normalization is applied.

    Args:
        layer: A layer of `find_folds`.
        weights: Its weights, without a bias if it has none.
        norm: The normalization.
    """
    scale, shift = scale_and_shift(norm)
    *kernels, bias = weights if layer.use_bias else [*weights, np.zeros_like(scale)]
    kernel = np.float64(kernels[-1])
    if isinstance(layer, _TRANSPOSED):
        factor = scale[:, None]
    elif isinstance(layer, _DEPTHWISE):
        factor = scale.reshape(kernel.shape[-2:])
    else:
        factor = scale
    return [*kernels[:-1], kernel * factor, np.float64(bias) * scale + shift]


def _is_called_once(graph: Graph, *calls: Call) -> bool:
    return all(len(graph.runs[id(call.layer)]) == 1 for call in calls)


def _can_fold(layer: keras.layers.Layer, call: Call) -> bool:
    return (
        isinstance(layer, _FOLDABLE)
        and layer.activation is keras.activations.linear
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and has_last_axis(call)
    )
