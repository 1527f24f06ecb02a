"""Ranges of activations from data, and biases as LiteRT adds them."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_kd.models.activation_range import ActivationRange, IntegerRounding, activation_ranges
from keras_kd.models.graph import open_graph
from keras_kd.models.inputs import call_model
from keras_kd.models.keras_compat import nested_layers
from keras_kd.models.rounded_layers import RoundedKernel

#: Minimum number of samples for the ranges, as for the calibration of an int8 export.
SAMPLES = 300


def calibrate(model: keras.Model, batches: Iterable[Any]) -> None:
    """Set the ranges of a quantized model to the values that it has on batches of inputs."""
    ranges = activation_ranges(model)
    for layer in ranges:
        layer.observing = True
    for x in batches:
        call_model(model, x, training=False)
    for layer in ranges:
        layer.observing = False
        layer.calibrate()


def settle(model: keras.Model) -> None:
    """Move the numbers of a trained model to those of its file.

    Ranges and scales become numbers that float32 multiplies exactly with 8-bit integers, and biases
    become the 32-bit integers that LiteRT adds. Ranges of means are widened by up to 2 %, so that
    no sum is near the middle between two steps. Equal kernels get different scales.
    """
    for layer in nested_layers(model):
        if isinstance(layer, ActivationRange | RoundedKernel):
            layer.settle()
    _separate_kernels(model)
    _settle_means(model)
    _round_biases(model)


def _separate_kernels(model: keras.Model) -> None:
    """Give layers with equal kernels different scales.

    The converter merges equal layers on one input. If their outputs are rounded in different
    ranges, the merged layer has no 8-bit form, and the file would run it in float.
    """
    found: set[tuple[Any, ...]] = set()
    for layer in nested_layers(model):
        if isinstance(layer, RoundedKernel):
            while (kernel := keras.ops.convert_to_numpy(layer.used_kernel())).any():
                key = (type(layer), kernel.shape, kernel.tobytes())
                if key not in found:
                    found.add(key)
                    break
                layer.grow()


def _settle_means(model: keras.Model) -> None:
    """Widen the ranges of means, from the input on: the step of one may be what the next sums."""
    means: dict[int, list[Any]] = {}
    for layer in nested_layers(model):
        kernel = layer.kernel if isinstance(layer, IntegerRounding) else None
        if kernel and layer.kind == "mean" and kernel.output not in (None, *kernel.inputs):
            others = means.pop(id(kernel.output), [])
            means[id(kernel.output)] = [*others, kernel]
    for kernels in means.values():
        units = [kernel.inputs[0].step / kernel.size for kernel in kernels]
        kernels[0].output.settle_means(units)


def _round_biases(model: keras.Model) -> None:
    graph = open_graph(model)
    for calls in graph.calls.values():
        layer = calls[0].layer
        if isinstance(layer, RoundedKernel) and len(calls) == 1 and layer.has_bias:
            call = calls[0]
            while call is not None and not isinstance(call.layer, ActivationRange):
                call = graph.maker(call.inputs[0]) if call.inputs else None
            if call is not None:
                step = call.layer.step * np.ravel(keras.ops.convert_to_numpy(layer.scale()))
                bias = keras.ops.convert_to_numpy(layer.bias)
                layer.bias.assign(np.round(bias / step) * step)
