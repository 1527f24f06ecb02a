"""Rewrites of Keras 3 layers that do not change what the model computes."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_kd.compression.tfmot.layers import is_shared_activation
from keras_kd.models.graph import Call, Graph
from keras_kd.models.logits import COMPUTE_AND_ACTIVATE

#: Activations whose input is logits, which losses may need.
PROBABILITIES = (keras.activations.softmax, keras.activations.sigmoid)


@dataclass
class Replacements:
    """The chain of layers that runs in place of each layer; by default, the layer itself.

    Attributes:
        by_path: The chains of replaced layers; empty for a layer that was fused into another one.
        notes: What was changed, for each replaced layer.
    """

    by_path: dict[str, list[Any]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def replace(self, path: str, layers: Sequence[Any], note: str) -> None:
        """Replace a layer by a chain of layers."""
        self.by_path[path] = list(layers)
        self.notes[path] = ", ".join(filter(None, [self.notes.get(path), note]))

    def chain(self, path: str, layer: Any) -> list[Any]:
        """Return the chain that runs in place of a layer."""
        return self.by_path.get(path, [layer])


def copy_with(layer: keras.layers.Layer, **arguments: Any) -> keras.layers.Layer:
    """Return a copy of a built layer and its weights, with some other arguments."""
    copy = type(layer).from_config({**layer.get_config(), **arguments})
    copy.build(*_build_shapes(layer))
    copy.set_weights(layer.get_weights())
    return copy


def split_activations(
    graph: Graph, replacements: Replacements, also: Collection[Callable[..., Any]] = ()
) -> None:
    """Split layers whose activation tf_keras lacks, or is in `also`, into layer and activation."""
    for path, calls in graph.calls.items():
        layer = calls[0].layer
        if not isinstance(layer, COMPUTE_AND_ACTIVATE):
            continue
        if layer.activation in also or not is_shared_activation(layer.activation):
            name = getattr(layer.activation, "__name__", type(layer.activation).__name__)
            replacements.replace(path, _split_activation(layer), f"{name} as a separate layer")


def fuse_relu(graph: Graph, replacements: Replacements, keep: Collection[str] = ()) -> None:
    """Turn a ReLU after a convolution or dense layer into the activation of that layer.

    Without a batch norm between the two, quantization-aware training supports no other form. The
    outputs of the layers in `keep` are needed, so nothing is fused into them.
    """
    for path, calls in graph.calls.items():
        if not is_relu(calls[0].layer):
            continue
        maker = exclusive_maker(graph, replacements, calls, keep)
        if maker is None or path in replacements.by_path:
            continue
        *before, last = replacements.chain(maker.path, maker.layer)
        if isinstance(last, COMPUTE_AND_ACTIVATE) and is_linear(last):
            fused = copy_with(last, activation="relu")
            replacements.replace(maker.path, [*before, fused], f"'{path}' fused into it")
            replacements.replace(path, [], f"fused into '{maker.path}'")


def exclusive_maker(
    graph: Graph, replacements: Replacements, calls: Sequence[Call], keep: Collection[str] = ()
) -> Call | None:
    """Return the call that makes the input of a layer, if nothing else uses that tensor.

    Layers that were fused into others are skipped. Returns `None` if the tensor has other users, is
    the output of a layer in `keep`, or either layer is called several times.
    """
    if len(calls) > 1 or len(calls[0].inputs) != 1:
        return None
    (source,) = calls[0].inputs
    maker = graph.maker(source)
    if maker is None or maker.path in keep or _count_users(graph, source) > 1:
        return None
    if not replacements.chain(maker.path, maker.layer):
        return exclusive_maker(graph, replacements, graph.calls[maker.path], keep)
    return maker if len(graph.calls[maker.path]) == 1 and len(maker.outputs) == 1 else None


def is_relu(layer: Any, limit: float | None = None) -> bool:
    """Return whether a layer or operation is a plain ReLU, or one with this upper limit."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return bool(plain) and layer.max_value == limit
    name = {None: "relu", 6.0: "relu6"}[limit]
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is getattr(keras.activations, name)
    return not isinstance(layer, keras.layers.Layer) and type(layer).__name__.lower() == name


def is_linear(layer: Any) -> bool:
    """Return whether a layer has no activation."""
    return layer.activation is keras.activations.linear


def _split_activation(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    name = f"{layer.name}_{getattr(layer.activation, '__name__', 'activation')}"
    return [
        copy_with(layer, activation="linear"),
        keras.layers.Activation(layer.activation, name=name, dtype=layer.dtype_policy),
    ]


def _count_users(graph: Graph, tensor: keras.KerasTensor) -> int:
    """Return how many calls and model outputs use a tensor."""
    calls = [call for calls in graph.calls.values() for call in calls]
    used = [x for call in calls if not isinstance(call.layer, keras.Model) for x in call.inputs]
    return sum(x is tensor for x in [*used, *keras.tree.flatten(graph.outputs)])


def _build_shapes(layer: keras.layers.Layer) -> tuple:
    config = layer.get_build_config() or {}
    return (config["input_shape"],) if "input_shape" in config else ()
