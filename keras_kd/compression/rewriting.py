"""Small changes to a Keras 3 layer that leave what is computed exactly as it was."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_kd.compression.layers import understood
from keras_kd.models.graph import Call, Graph

#: Layers that end in an activation of their own.
ACTIVATED = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


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
        self.notes[path] = note

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


def split_activations(graph: Graph, chains: Chains, probabilities: bool = False) -> None:
    """Takes apart the layers whose activation tf_keras does not have.

    Args:
        graph: The opened graph.
        chains: Where the changes are noted.
        probabilities: Whether a softmax or sigmoid is taken apart too, so that the logits are the
            output of a layer. Defaults to `False`.
    """
    apart = (keras.activations.softmax, keras.activations.sigmoid) if probabilities else ()
    for path, calls in graph.calls.items():
        layer = calls[0].layer
        if not isinstance(layer, ACTIVATED):
            continue
        if layer.activation in apart or not understood(layer.activation):
            name = getattr(layer.activation, "__name__", type(layer.activation).__name__)
            chains.change(path, split_activation(layer), f"{name} runs as a layer of its own")


def fuse_relu(graph: Graph, chains: Chains, keep: Sequence[str] = ()) -> None:
    """Makes a ReLU behind a convolution or dense layer that layer's own activation.

    Quantization-aware training knows no other form of it, where no batch norm lies between.

    Args:
        graph: The opened graph.
        chains: Where the changes are noted.
        keep: Paths of layers whose own output is wanted.
    """
    users = _users(graph)
    for path, calls in graph.calls.items():
        relu = _relu(calls[0].layer)
        if relu is None or len(calls) > 1 or path in chains.by_path:
            continue
        (source,) = calls[0].inputs
        maker = graph.maker(source)
        if maker is None or maker.path in keep or maker.path in chains.by_path:
            continue
        only = len(graph.calls[maker.path]) == 1 and users.get(id(source)) == 1
        fusible = isinstance(maker.layer, ACTIVATED) and _is_linear(maker.layer)
        if only and fusible:
            fused = with_arguments(maker.layer, activation=relu)
            chains.change(maker.path, [fused], f"'{path}' fused into it")
            chains.change(path, [], f"fused into '{maker.path}'")


def _relu(layer: Any) -> str | None:
    """The name of the ReLU that a layer or operation is, if it is one."""
    if isinstance(layer, keras.layers.ReLU):
        changed = layer.negative_slope or layer.threshold or layer.max_value is not None
        return None if changed else "relu"
    if isinstance(layer, keras.layers.Activation):
        return "relu" if layer.activation is keras.activations.relu else None
    operation = not isinstance(layer, keras.layers.Layer) and type(layer).__name__ == "Relu"
    return "relu" if operation else None


def _is_linear(layer: Any) -> bool:
    return layer.activation is keras.activations.linear


def _users(graph: Graph) -> dict[int, int]:
    """How many calls (and outputs of the model) take each tensor, by its id."""
    counts: dict[int, int] = {}
    calls = [call for calls in graph.calls.values() for call in calls if not _is_model(call)]
    tensors = [tensor for call in calls for tensor in call.inputs]
    for tensor in [*tensors, *keras.tree.flatten(graph.outputs)]:
        counts[id(tensor)] = counts.get(id(tensor), 0) + 1
    return counts


def _is_model(call: Call) -> bool:
    return isinstance(call.layer, keras.Model)


def _shapes(layer: keras.layers.Layer) -> tuple:
    config = layer.get_build_config() or {}
    return (config["input_shape"],) if "input_shape" in config else ()
