"""Small changes to a Keras 3 layer that leave what is computed exactly as it was."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_kd.compression.tfmot.layers import understood
from keras_kd.models.graph import Call, Graph
from keras_kd.models.logits import COMPUTE_AND_ACTIVATE

#: Activations before which there are logits, which the losses want.
PROBABILITIES = (keras.activations.softmax, keras.activations.sigmoid)


@dataclass
class Chains:
    """What runs in the place of each layer: a chain of layers, mostly itself alone.

    Attributes:
        by_path: For each changed layer the layers that stand for it; none where it is left out.
        notes: For each changed layer, in words, what was done.
    """

    by_path: dict[str, list[Any]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def change(self, path: str, layers: Sequence[Any], note: str) -> None:
        """Puts a chain in the place of a layer."""
        self.by_path[path] = list(layers)
        self.notes[path] = ", ".join(filter(None, [self.notes.get(path), note]))

    def of(self, path: str, layer: Any) -> list[Any]:
        """The chain of a layer."""
        return self.by_path.get(path, [layer])


def with_arguments(layer: keras.layers.Layer, **arguments: Any) -> keras.layers.Layer:
    """A copy of a built layer, its weights included, made with some other arguments."""
    copy = type(layer).from_config({**layer.get_config(), **arguments})
    copy.build(*_shapes(layer))
    copy.set_weights(layer.get_weights())
    return copy


def split_activation(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """A layer and its activation as two layers."""
    name = f"{layer.name}_{getattr(layer.activation, '__name__', 'activation')}"
    return [
        with_arguments(layer, activation="linear"),
        keras.layers.Activation(layer.activation, name=name, dtype=layer.dtype_policy),
    ]


def split_activations(
    graph: Graph, chains: Chains, apart: Collection[Callable[..., Any]] = ()
) -> None:
    """Takes apart the layers whose activation tf_keras does not have.

    Args:
        graph: The opened graph.
        chains: Where the changes are noted.
        apart: Other activations that shall be layers of their own. Defaults to none.
    """
    for path, calls in graph.calls.items():
        layer = calls[0].layer
        if not isinstance(layer, COMPUTE_AND_ACTIVATE):
            continue
        if layer.activation in apart or not understood(layer.activation):
            name = getattr(layer.activation, "__name__", type(layer.activation).__name__)
            chains.change(path, split_activation(layer), f"{name} runs as a layer of its own")


def fuse_relu(graph: Graph, chains: Chains, keep: Collection[str] = ()) -> None:
    """Makes a ReLU behind a convolution or dense layer that layer's own activation.

    Quantization-aware training knows no other form of it, where no batch norm lies between.

    Args:
        graph: The opened graph.
        chains: Where the changes are noted.
        keep: Paths of layers whose own output is wanted.
    """
    for path, calls in graph.calls.items():
        maker = only_source(graph, chains, calls, keep) if is_relu(calls[0].layer) else None
        if maker is None or path in chains.by_path:
            continue
        *before, last = chains.of(maker.path, maker.layer)
        if isinstance(last, COMPUTE_AND_ACTIVATE) and is_linear(last):
            fused = with_arguments(last, activation="relu")
            chains.change(maker.path, [*before, fused], f"'{path}' fused into it")
            chains.change(path, [], f"fused into '{maker.path}'")


def only_source(
    graph: Graph, chains: Chains, calls: Sequence[Call], keep: Collection[str] = ()
) -> Call | None:
    """The call whose output a layer takes, where nobody else sees it.

    Args:
        graph: The opened graph.
        chains: What stands for some layers; those left out are looked through.
        calls: The calls of the layer.
        keep: Paths of layers whose own output is wanted.

    Returns:
        The call, or `None` where there are others, or either layer is called several times.
    """
    if len(calls) > 1 or len(calls[0].inputs) != 1:
        return None
    (source,) = calls[0].inputs
    maker = graph.maker(source)
    if maker is None or maker.path in keep or _users(graph, source) > 1:
        return None
    if not chains.of(maker.path, maker.layer):
        return only_source(graph, chains, graph.calls[maker.path], keep)
    return maker if len(graph.calls[maker.path]) == 1 and len(maker.outputs) == 1 else None


def is_relu(layer: Any, limit: float | None = None) -> bool:
    """Whether a layer or operation is a plain ReLU, or one with an upper limit.

    Args:
        layer: The layer or operation.
        limit: The upper limit. Defaults to none.
    """
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return bool(plain) and layer.max_value == limit
    name = {None: "relu", 6.0: "relu6"}[limit]
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is getattr(keras.activations, name)
    return not isinstance(layer, keras.layers.Layer) and type(layer).__name__.lower() == name


def is_linear(layer: Any) -> bool:
    """Whether a layer has no activation."""
    return layer.activation is keras.activations.linear


def _users(graph: Graph, tensor: keras.KerasTensor) -> int:
    """How many calls (and outputs of the model) take a tensor."""
    calls = [call for calls in graph.calls.values() for call in calls]
    taken = [x for call in calls if not isinstance(call.layer, keras.Model) for x in call.inputs]
    return sum(x is tensor for x in [*taken, *keras.tree.flatten(graph.outputs)])


def _shapes(layer: keras.layers.Layer) -> tuple:
    config = layer.get_build_config() or {}
    return (config["input_shape"],) if "input_shape" in config else ()
