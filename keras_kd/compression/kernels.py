"""The kernels of a Keras 3 model that can be pruned and clustered, and their statistics."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from keras_kd.compression.layer_plan import LayerPlan
from keras_kd.models.keras_compat import inner_layers
from keras_kd.training.weight_rule import zero_fraction

__all__ = ["Kernel", "LayerKernels", "is_clustered", "is_pruned", "list_kernels", "zero_fraction"]

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_CELLS = (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell)
#: The axes of the input channels and of the output channels of a kernel, if they are known.
Axes = tuple[tuple[int, ...], tuple[int, ...]] | tuple[None, None]
_LAST, _SWAPPED, _MATRIX, _UNKNOWN = ((-2,), (-1,)), ((-1,), (-2,)), ((0,), (1,)), (None, None)
#: The weights of each kind of layer that can be pruned.
_KINDS = (
    (_CONVOLUTIONS, {"kernel": _LAST}),
    (_TRANSPOSED, {"kernel": _SWAPPED}),
    (_SEPARABLE, {"pointwise_kernel": _LAST}),
    ((layers.DepthwiseConv1D, layers.DepthwiseConv2D), {}),
    ((layers.Dense,), {"kernel": _MATRIX}),
    ((layers.Embedding,), {"embeddings": _UNKNOWN}),
    (_CELLS, {"kernel": _MATRIX, "recurrent_kernel": _MATRIX}),
)
_CUSTOM = dict.fromkeys(("kernel", "recurrent_kernel", "embeddings"), _UNKNOWN)


@dataclass(frozen=True)
class Kernel:
    """A kernel of a layer.

    Attributes:
        name: Its name in the layer, `layer.weight` inside a layer of layers.
        variable: The variable.
        inputs: The axes of the input channels, `None` if they are not known.
        outputs: The axes of the output channels, `None` if they are not known.
    """

    name: str
    variable: keras.Variable
    inputs: tuple[int, ...] | None
    outputs: tuple[int, ...] | None

    @property
    def is_convolution(self) -> bool:
        """Whether there are other axes than those of the input and the output channels."""
        known = self.inputs is not None
        return known and len(self.variable.shape) > len(self.inputs) + len(self.outputs)

    @property
    def value(self) -> np.ndarray:
        """The weights."""
        return keras.ops.convert_to_numpy(self.variable)


@dataclass(frozen=True)
class LayerKernels:
    """The kernels of a layer of a model.

    Attributes:
        path: The layer's name, `outer/inner` inside a nested model.
        layer: The layer.
        kernels: Its kernels that can be compressed.
        reason: Why there are none.
    """

    path: str
    layer: layers.Layer
    kernels: tuple[Kernel, ...]
    reason: str = ""

    def plan(self, action: str, reason: str) -> LayerPlan:
        """Return what a compression does to the layer."""
        return LayerPlan(self.path, type(self.layer).__name__, action, reason)


def list_kernels(model: keras.Model) -> list[LayerKernels]:
    """Return the kernels of every layer of a model, nested models opened.

    A weight that several layers share is listed for the first of them.
    """
    seen: set[int] = set()
    return [_layer_kernels(path, layer, seen) for path, layer in _leaves(model, "")]


def _leaves(model: keras.Model, prefix: str) -> Iterator[tuple[str, layers.Layer]]:
    """Yield the layers of a model and of its nested models, with their paths."""
    for layer in model.layers:
        path = prefix + layer.name
        if isinstance(layer, keras.Model):
            yield from _leaves(layer, f"{path}/")
        elif not isinstance(layer, layers.InputLayer):
            yield path, layer


def _layer_kernels(path: str, layer: layers.Layer, seen: set[int]) -> LayerKernels:
    """Return the kernels of a layer and of the layers in it, except those seen before."""
    if not layer.weights:
        return LayerKernels(path, layer, (), "no weights")
    found = list(_find_kernels(layer, ""))
    trainable = [kernel for kernel in found if kernel.variable.trainable]
    kernels = tuple(kernel for kernel in trainable if id(kernel.variable) not in seen)
    seen |= {id(kernel.variable) for kernel in kernels}
    if kernels:
        reason = ""
    elif trainable:
        reason = "shares its weights with a layer before it"
    else:
        reason = "frozen" if found else f"{type(layer).__name__} has no kernel of this kind"
    return LayerKernels(path, layer, kernels, reason)


def _find_kernels(layer: layers.Layer, prefix: str) -> Iterator[Kernel]:
    """Yield the kernels of a layer and of all layers in it."""
    children = inner_layers(layer)
    of_children = {id(weight) for child in children for weight in child.weights}
    names = _prunable_names(layer)
    for weight in layer.weights:
        if id(weight) in of_children or weight.name not in names:
            continue
        if len(weight.shape) > 1 and "float" in weight.dtype:
            axes = [_positive(axes, weight) for axes in names[weight.name]]
            yield Kernel(prefix + weight.name, weight, *axes)
    for child in children:
        yield from _find_kernels(child, f"{prefix}{child.name}.")


def _prunable_names(layer: layers.Layer) -> dict[str, Axes]:
    if isinstance(layer, layers.EinsumDense):
        return {"kernel": _einsum_axes(layer.equation)}
    return next((names for kinds, names in _KINDS if isinstance(layer, kinds)), _CUSTOM)


def _positive(axes: tuple[int, ...] | None, weight: keras.Variable) -> tuple[int, ...] | None:
    return None if axes is None else tuple(axis % len(weight.shape) for axis in axes)


def _einsum_axes(equation: str) -> Axes:
    """Return the axes of the kernel over which an einsum sums, and those that it adds."""
    inputs, _, outputs = equation.replace("...", "").replace(" ", "").partition("->")
    given, kernel = inputs.split(",")
    summed = [axis in given and axis not in outputs for axis in kernel]
    added = [axis in outputs and axis not in given for axis in kernel]
    if not any(summed) or not any(added):
        return _UNKNOWN
    return tuple(np.flatnonzero(summed).tolist()), tuple(np.flatnonzero(added).tolist())


def is_pruned(kernels: Iterable[np.ndarray]) -> bool:
    """Return whether kernels have been pruned; training alone makes no zeros."""
    return zero_fraction(kernels) >= 0.1


def is_clustered(kernel: np.ndarray, per_channel: bool) -> bool:
    """Return whether a kernel has been clustered; training alone makes no equal weights."""
    channels = kernel.reshape(-1, kernel.shape[-1]).T if per_channel else [kernel.ravel()]
    counts = [(np.unique(c[c != 0]).size, np.count_nonzero(c)) for c in channels]
    return all(values <= weights / 2 for values, weights in counts)
