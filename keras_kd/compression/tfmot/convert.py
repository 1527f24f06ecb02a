"""From Keras 3 to tf_keras and back: the same graph, the same weights, checked on random input."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.compression.tfmot import imports as legacy_keras
from keras_kd.compression.tfmot import rewrites as rewriting
from keras_kd.compression.tfmot.layers import Custom, translated
from keras_kd.compression.tfmot.parity import check_parity
from keras_kd.compression.tfmot.rewrites import Chains
from keras_kd.models.copy import copy_model
from keras_kd.models.graph import Call, Graph, is_graph, open_graph, require_built


@dataclass(frozen=True)
class Bridged:
    """A tf_keras model that computes what a Keras 3 model computes.

    Attributes:
        model: The tf_keras model.
        graph: The opened graph of the Keras 3 model.
        chains: What stands for the layers that were changed on the way.
        layers: For each layer of the Keras 3 model, by its path, the tf_keras layers that stand for
            it; none where it was fused into another.
        front: What runs before the tf_keras model: a Keras 3 model with a list of outputs.
    """

    model: Any
    graph: Graph
    chains: Chains
    layers: dict[str, list[Any]]
    front: keras.Model

    @property
    def flat(self) -> Any:
        """The tf_keras model with lists of inputs and outputs: wrapping loses other structures."""
        return type(self.model)(self.model.inputs, self.model.outputs, name=self.model.name)

    def run(self, x: Any, model: Any = None) -> list[Any]:
        """Runs the tf_keras model, or another one of its inputs, in inference mode.

        Args:
            x: A batch, as the Keras 3 model takes it.
            model: A tf_keras model of the same inputs. Defaults to the model itself.

        Returns:
            A list of its outputs.
        """
        values = tree.flatten(self.front(x, training=False))
        given = values if len(values) > 1 else values[0]
        return tree.flatten((model or self.flat)(given, training=False))


def to_tf_keras(model: keras.Model, custom: Custom | None = None, fuse_relu: bool = True) -> Any:
    """Rebuilds a Keras 3 model in tf_keras, the Keras that tensorflow-model-optimization takes.

    The layers keep their names, those of nested models become `outer/inner` of one flat model, and
    the weights are copied. Layers that tf_keras computes otherwise are refused; weightless
    layers and keras.ops that it does not have run as they are inside a small layer. In the
    end both models are run on random input and must agree to 1e-5 of the largest output.

    Args:
        model: A built Functional or Sequential `keras.Model` of float32 weights.
        custom: What stands for custom layers: by class (or its name), a function that takes the
            layer and returns a tf_keras layer with weights of the same shapes in the same order, or
            `"as_is"` for a layer without weights that runs on TensorFlow tensors. Defaults to none.
        fuse_relu: Whether a ReLU behind a convolution or dense layer becomes that layer's own
            activation, without which quantization-aware training passes it by. Defaults to `True`.

    Returns:
        A `tf_keras.Model`, not compiled.

    Raises:
        TypeError: When `model` is not a Keras 3 model.
        ValueError: When it is subclassed or not built, when a layer cannot be translated exactly
            (named, with the way out), or when the two models do not agree.
        ImportError: When tf_keras is not installed.

    Example:
        >>> legacy = kd.compression.to_tf_keras(student)
        >>> legacy = kd.compression.to_tf_keras(
        ...     student, custom={Scale: lambda layer: LegacyScale(layer.units)}
        ... )
    """
    chains = Chains()
    graph = read(model)
    rewriting.split_activations(graph, chains)
    if fuse_relu:
        rewriting.fuse_relu(graph, chains)
    return bridge(model, graph, chains, custom).model


def to_keras(legacy: Any, model: keras.Model) -> keras.Model:
    """Takes the weights of a tf_keras model back into a copy of the Keras 3 model it came from.

    Args:
        legacy: What `to_tf_keras` made of the model, trained; of a model wrapped by
            tensorflow-model-optimization, what its `strip_pruning` or `strip_clustering` returns.
        model: The Keras 3 model; it stays as it is.

    Returns:
        A copy of the Keras 3 model with the weights of the other.

    Raises:
        ValueError: When a layer is missing or has weights of other shapes.

    Example:
        >>> pruned = tfmot.sparsity.keras.strip_pruning(wrapped)
        >>> student = kd.compression.to_keras(pruned, student)
    """
    graph = read(model)
    ours = {layer.name: layer for layer in legacy.layers}
    values = {}
    for path, layer in _weighted(graph).items():
        theirs = _values(layer, ours[path]) if path in ours else []
        shapes = [tuple(value.shape) for value in theirs]
        wanted = [tuple(weight.shape) for weight in layer.weights]
        if shapes != wanted:
            raise ValueError(
                f"The layer '{path}' of '{model.name}' has weights of shapes {wanted}. Received: "
                f"a tf_keras model whose layer of that name has {shapes or 'none'}. Pass the model "
                "that to_tf_keras made of this one, its wrappers stripped."
            )
        values.update(zip(map(id, layer.weights), theirs, strict=True))
    copy = copy_model(model)
    # What is not in the graph (a counter, say) keeps its value.
    copy.set_weights([values.get(id(w), w.numpy()) for w in model.weights])
    return copy


def read(model: keras.Model) -> Graph:
    """Opens the graph of a student, with the models nested in it.

    Raises:
        TypeError: When it is not a `keras.Model`.
        ValueError: When it is not built, or subclassed.
    """
    require_built(model, "The student")
    if not is_graph(model):
        raise ValueError(
            f"Compression takes a Functional or Sequential model, whose graph it can rebuild. "
            f"Received: '{model.name}' ({type(model).__name__}), which is subclassed. Build it "
            "with the functional API: keras.Model(inputs, outputs)."
        )
    return open_graph(model)


def bridged_student(student: keras.Model, custom: Custom | None) -> Bridged:
    """A student in tf_keras, with its logits where they can be tapped.

    Args:
        student: The Keras 3 model.
        custom: What stands for custom layers.

    Returns:
        The tf_keras model, with what became of each layer.

    Raises:
        ValueError: As for `to_tf_keras`.
    """
    chains, graph = Chains(), read(student)
    rewriting.split_activations(graph, chains, rewriting.PROBABILITIES)
    return bridge(student, graph, chains, custom)


def bridge(
    model: keras.Model,
    graph: Graph,
    chains: Chains,
    custom: Custom | None = None,
    starts: Sequence[keras.KerasTensor] | None = None,
) -> Bridged:
    """Rebuilds an opened graph in tf_keras.

    Args:
        model: The Keras 3 model.
        graph: Its graph.
        chains: What stands for some of its layers.
        custom: What stands for custom layers.
        starts: The tensors of the graph at which the tf_keras model begins, one for each input;
            what lies before them stays in Keras 3. Defaults to the inputs.

    Returns:
        The tf_keras model, with what became of each layer.

    Raises:
        ValueError: When a layer cannot be translated exactly or the models do not agree.
    """
    tf_keras = legacy_keras.tf_keras()
    begin = graph.inputs if starts is None else list(starts)
    inputs = tree.map_structure(
        lambda x: tf_keras.Input(x.shape[1:], dtype=x.dtype, name=x.name), begin
    )
    tensors = dict(zip(map(id, tree.flatten(begin)), tree.flatten(inputs), strict=True))
    layers: dict[str, list[Any]] = {}
    for call in in_order(graph, tree.flatten(begin)):
        value = None
        for i, link in enumerate(_chain(call, chains, custom, layers)):
            value = _apply(link, call, tensors) if i == 0 else link(value)
        results = [tensors[id(call.inputs[0])]] if value is None else tree.flatten(value)
        tensors.update(zip(map(id, call.outputs), results, strict=True))
    outputs = tree.map_structure(lambda x: tensors[id(x)], graph.outputs)
    legacy = tf_keras.Model(inputs, _unwrapped(outputs), name=model.name)
    _copy_weights(graph, chains, layers)
    front = keras.Model(graph.inputs, [keras.layers.Identity()(x) for x in tree.flatten(begin)])
    bridged = Bridged(legacy, graph, chains, layers, front)
    check_parity(model, bridged, tensors)
    return bridged


def in_order(graph: Graph, starts: Sequence[keras.KerasTensor] = ()) -> list[Call]:
    """The calls that the outputs depend on, each after those that make what it takes.

    Args:
        graph: The opened graph.
        starts: Tensors whose own makers do not count. Defaults to none.
    """
    ordered, done = [], {id(graph.maker(x)) for x in starts}
    waiting = [graph.maker(x) for x in reversed(tree.flatten(graph.outputs))]
    while waiting:
        call = waiting.pop()
        if call is None or id(call) in done:
            continue
        before = [graph.maker(x) for x in _tensors(_arguments(call))]
        missing = [maker for maker in before if maker is not None and id(maker) not in done]
        if missing:
            waiting += [call, *missing]
        else:
            done.add(id(call))
            ordered.append(call)
    return ordered


def _chain(
    call: Call, chains: Chains, custom: Custom | None, layers: dict[str, list[Any]]
) -> list[Any]:
    """The tf_keras layers that stand for the layer of a call, made once."""
    from keras_kd.compression.tfmot.keras3_op_layer import AsItIs

    known = layers.get(call.path)
    if known is not None and not any(isinstance(link, AsItIs) for link in known):
        return known
    suffix = "" if known is None else f"_{len(known)}"
    made = []
    for i, link in enumerate(chains.of(call.path, call.layer)):
        name = call.path if i == 0 else f"{call.path}/{link.name}"
        arguments = (_arguments(call),) if i == 0 else ()
        made.append(translated(link, name + suffix, custom, *arguments))
    layers[call.path] = [*(known or []), *made]
    return made


def _arguments(call: Call) -> tuple[tuple, dict[str, Any]]:
    """What a call is given, without what each Keras finds out for itself.

    A `training` that was written into the graph is overridden by that of `fit` and `predict`, and a
    mask that came with a tensor is computed anew.
    """
    first = call.inputs[0]
    implied = getattr(first, "_keras_mask", None)
    kwargs = {
        name: value
        for name, value in call.kwargs.items()
        if name != "training" and not (name == "mask" and (value is None or value is implied))
    }
    return call.args, kwargs


def _apply(layer: Any, call: Call, tensors: dict[int, Any]) -> Any:
    from keras_kd.compression.tfmot.keras3_op_layer import AsItIs

    arguments = _arguments(call)
    if isinstance(layer, AsItIs):
        given = [tensors[id(x)] for x in _tensors(arguments)]
        return layer(given[0] if len(given) == 1 else given)
    (first, *others), kwargs = tree.map_structure(lambda x: tensors.get(id(x), x), arguments)
    # The two do not agree on the order of arguments, and wrappers take the first one only.
    names = list(inspect.signature(call.layer.call).parameters)
    return layer(first, **dict(zip(names[1:], others, strict=False)), **kwargs)


def _tensors(arguments: Any) -> list[keras.KerasTensor]:
    return [part for part in tree.flatten(arguments) if isinstance(part, keras.KerasTensor)]


def _unwrapped(outputs: Any) -> Any:
    single = isinstance(outputs, (list, tuple)) and len(outputs) == 1
    return outputs[0] if single else outputs


def _values(layer: keras.layers.Layer, legacy: Any) -> list[np.ndarray]:
    """The weights of a tf_keras layer in the order of the Keras 3 layer's."""
    if not isinstance(layer, keras.layers.MultiHeadAttention):
        return legacy.get_weights()
    # Once it has been clustered its kernels come first.
    named = {tuple(w.name.split(":")[0].split("/")[-2:]): w.numpy() for w in legacy.weights}
    return [named[tuple(weight.path.split("/")[-2:])] for weight in layer.weights]


def _weighted(graph: Graph) -> dict[str, keras.layers.Layer]:
    """The innermost layers that have weights, by path; those of a `Normalization` are constants."""
    reached = {call.path: call.layer for call in in_order(graph)}
    return {
        path: layer
        for path, layer in reached.items()
        if getattr(layer, "weights", None) and not isinstance(layer, keras.layers.Normalization)
    }


def _copy_weights(graph: Graph, chains: Chains, layers: dict[str, list[Any]]) -> None:
    for path, layer in _weighted(graph).items():
        for ours, theirs in zip(chains.of(path, layer), layers.get(path, []), strict=False):
            _copy(path, ours, theirs)


def _copy(path: str, ours: Any, theirs: Any) -> None:
    """Copies the weights of one layer."""
    given = [tuple(weight.shape) for weight in getattr(ours, "weights", [])]
    taken = [tuple(weight.shape) for weight in theirs.weights]
    if given != taken:
        raise ValueError(
            f"The layer '{path}' ({type(ours).__name__}) has weights of shapes {given}, and the "
            f"tf_keras layer that stands for it {taken}. They must be the same, in the same order."
        )
    theirs.set_weights([np.asarray(weight) for weight in getattr(ours, "weights", [])])
