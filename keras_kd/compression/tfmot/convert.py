"""Conversion of Keras 3 models to tf_keras and back: same graph, same weights, same outputs."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.compression.tfmot import rewrites
from keras_kd.compression.tfmot.converted_model import ConvertedModel
from keras_kd.compression.tfmot.imports import import_tf_keras
from keras_kd.compression.tfmot.layers import Custom, LayerConverter
from keras_kd.compression.tfmot.parity import check_parity
from keras_kd.compression.tfmot.rewrites import Replacements
from keras_kd.models.copy import copy_model
from keras_kd.models.graph import Call, Graph, is_graph, open_graph, require_built
from keras_kd.training.backend import require_tensorflow


def to_tf_keras(model: keras.Model, custom: Custom | None = None, fuse_relu: bool = True) -> Any:
    """Convert a Keras 3 model to tf_keras, which tensorflow-model-optimization requires.

    Layers keep their names and weights; layers of nested models are called `outer/inner` in one
    flat model. Weightless layers and keras.ops that tf_keras does not have run unchanged inside a
    small layer, and layers that it computes differently are rejected. Finally, the outputs of both
    models on random inputs must agree to 1e-5 of the largest output.

    Args:
        model: A built Functional or Sequential `keras.Model` with float32 weights.
        custom: Replacements of custom layers, by class or class name: a function that takes the
            layer and returns a tf_keras layer with weights of the same shapes in the same order, or
            `"as_is"` for a layer without weights that runs on TensorFlow tensors. Defaults to
            `None`.
        fuse_relu: Whether a ReLU after a convolution or dense layer becomes the activation of that
            layer, which quantization-aware training requires. Defaults to `True`.

    Returns:
        An uncompiled `tf_keras.Model`.

    Raises:
        TypeError: If `model` is not a Keras 3 model.
        ValueError: If the model is subclassed or not built, a layer cannot be converted exactly,
            the outputs of the two models differ, or the backend is not TensorFlow.
        ImportError: If tf_keras is not installed.

    Example:
        >>> converted = kd.compression.to_tf_keras(student)
        >>> converted = kd.compression.to_tf_keras(
        ...     student, custom={Scale: lambda layer: TfKerasScale(layer.units)}
        ... )
    """
    require_tensorflow("tf_keras runs on TensorFlow", "to_tf_keras")
    replacements = Replacements()
    graph = open_student(model)
    rewrites.split_activations(graph, replacements)
    if fuse_relu:
        rewrites.fuse_relu(graph, replacements)
    return convert_graph(model, graph, replacements, custom).model


def to_keras(legacy: Any, model: keras.Model) -> keras.Model:
    """Copy a Keras 3 model, with the weights of the tf_keras model that was made from it.

    Args:
        legacy: The trained result of `to_tf_keras`, or of `strip_pruning` or `strip_clustering` if
            tensorflow-model-optimization wrapped its layers.
        model: The Keras 3 model, which is not changed.

    Raises:
        ValueError: If a layer is missing or has weights of other shapes.

    Example:
        >>> pruned = tfmot.sparsity.keras.strip_pruning(wrapped)
        >>> student = kd.compression.to_keras(pruned, student)
    """
    graph = open_student(model)
    converted_layers = {layer.name: layer for layer in legacy.layers}
    values = {}
    for path, layer in _weighted_layers(graph).items():
        found = (
            _get_converted_weights(layer, converted_layers[path])
            if path in converted_layers
            else []
        )
        shapes = [tuple(value.shape) for value in found]
        expected = [tuple(weight.shape) for weight in layer.weights]
        if shapes != expected:
            raise ValueError(
                f"The layer '{path}' of '{model.name}' has weights of shapes {expected}. Received: "
                f"a tf_keras model whose layer of that name has {shapes or 'none'}. Pass the model "
                "that to_tf_keras made from this one, with stripped wrappers."
            )
        values.update(zip(map(id, layer.weights), found, strict=True))
    copy = copy_model(model)
    # Variables outside the graph, such as a counter, keep their values.
    copy.set_weights([values.get(id(w), w.numpy()) for w in model.weights])
    return copy


def open_student(model: keras.Model) -> Graph:
    """Open the graph of a student and of its nested models; reject a subclassed student."""
    require_built(model, "The student")
    if not is_graph(model):
        raise ValueError(
            f"Compression requires a Functional or Sequential model, whose graph it can rebuild. "
            f"Received: '{model.name}' ({type(model).__name__}), which is subclassed. Build it "
            "with the functional API: keras.Model(inputs, outputs)."
        )
    graph = open_graph(model)
    for calls in graph.calls.values():
        for call in calls:
            _reject_mask(call)
    return graph


def _reject_mask(call: Call) -> None:
    """Reject a nested model that is called with a mask, which tf_keras may compute otherwise."""
    masks = tree.flatten(call.kwargs.get("mask"))
    if is_graph(call.layer) and any(mask is not None for mask in masks):
        raise ValueError(
            f"'{call.path}' ({type(call.layer).__name__}) receives a mask, so its layers cannot be "
            "converted one by one. Build it without a mask, or with its layers in the outer model."
        )


def convert_student(student: keras.Model, custom: Custom | None) -> ConvertedModel:
    """Convert a student to tf_keras, with separate softmax and sigmoid layers to tap the logits."""
    replacements, graph = Replacements(), open_student(student)
    rewrites.split_activations(graph, replacements, rewrites.PROBABILITIES)
    return convert_graph(student, graph, replacements, custom)


def convert_graph(
    model: keras.Model,
    graph: Graph,
    replacements: Replacements,
    custom: Custom | None = None,
    starts: Sequence[keras.KerasTensor] | None = None,
) -> ConvertedModel:
    """Convert the opened and rewritten graph of a model to tf_keras.

    The tf_keras model starts at the tensors in `starts`, one per input, which default to the
    inputs; layers before them stay in Keras 3.

    Raises:
        ValueError: If a layer cannot be converted, or the backend is not TensorFlow.
    """
    require_tensorflow("tf_keras runs on TensorFlow", "engine='tfmot'")
    tf_keras = import_tf_keras()
    starts = graph.inputs if starts is None else list(starts)
    inputs = tree.map_structure(
        lambda x: tf_keras.Input(x.shape[1:], dtype=x.dtype, name=x.name), starts
    )
    tensors = dict(zip(map(id, tree.flatten(starts)), tree.flatten(inputs), strict=True))
    converter = LayerConverter(custom, lambda inner: to_tf_keras(inner, custom, fuse_relu=False))
    layers: dict[str, list[Any]] = {}
    for call in sort_calls(graph, tree.flatten(starts)):
        chain = _convert_chain(call, replacements, converter, layers)
        value = None
        for i, layer in enumerate(chain):
            value = layer(value) if i else _apply(layer, call, tensors)
        if not chain:  # Fused into another layer.
            value = tensors[id(call.inputs[0])]
        tensors.update(zip(map(id, call.outputs), tree.flatten(value), strict=True))
    outputs = tree.map_structure(lambda x: tensors[id(x)], graph.outputs)
    if isinstance(outputs, (list, tuple)) and len(outputs) == 1:
        (outputs,) = outputs
    converted = tf_keras.Model(inputs, outputs, name=model.name)
    _copy_weights(graph, replacements, layers)
    identities = [keras.layers.Identity()(x) for x in tree.flatten(starts)]
    front = keras.Model(graph.inputs, identities)
    result = ConvertedModel(converted, graph, replacements, layers, front)
    check_parity(model, result, tensors)
    return result


def sort_calls(graph: Graph, starts: Sequence[keras.KerasTensor] = ()) -> list[Call]:
    """Return the calls between `starts` and the outputs, in an order in which they can run."""
    ordered, done = [], {id(graph.maker(x)) for x in starts}
    waiting = [graph.maker(x) for x in reversed(tree.flatten(graph.outputs))]
    while waiting:
        call = waiting.pop()
        if call is None or id(call) in done:
            continue
        before = [graph.maker(x) for x in _tensors(call_arguments(call))]
        missing = [maker for maker in before if maker is not None and id(maker) not in done]
        if missing:
            waiting += [call, *missing]
        else:
            done.add(id(call))
            ordered.append(call)
    return ordered


def _convert_chain(
    call: Call,
    replacements: Replacements,
    converter: LayerConverter,
    layers: dict[str, list[Any]],
) -> list[Any]:
    """Return the tf_keras layers of a call, which are created at the first call of the layer."""
    from keras_kd.compression.tfmot.keras3_op_layer import Keras3OpLayer

    known = layers.get(call.path)
    # An operation layer contains the arguments of one call.
    if known is not None and not any(isinstance(layer, Keras3OpLayer) for layer in known):
        return known
    suffix = "" if known is None else f"_{len(known)}"
    chain = []
    for i, layer in enumerate(replacements.chain(call.path, call.layer)):
        name = call.path if i == 0 else f"{call.path}/{layer.name}"
        arguments = (call_arguments(call),) if i == 0 else ()
        chain.append(converter.convert(layer, name + suffix, *arguments))
    layers[call.path] = [*(known or []), *chain]
    return chain


def call_arguments(call: Call) -> tuple[tuple, dict[str, Any]]:
    """Return the arguments of a call without those that each Keras determines itself.

    `fit` and `predict` override a `training` from the graph, and the mask of a tensor is computed
    again.
    """
    implied = getattr(call.inputs[0], "_keras_mask", None)
    kwargs = {
        name: value
        for name, value in call.kwargs.items()
        if name != "training" and not (name == "mask" and (value is None or value is implied))
    }
    return call.args, kwargs


def _apply(layer: Any, call: Call, tensors: dict[int, Any]) -> Any:
    """Call a tf_keras layer with the arguments of a call in the Keras 3 graph."""
    from keras_kd.compression.tfmot.keras3_op_layer import Keras3OpLayer

    arguments = call_arguments(call)
    if isinstance(layer, Keras3OpLayer):
        inputs = [tensors[id(x)] for x in _tensors(arguments)]
        return layer(inputs[0] if len(inputs) == 1 else inputs)
    (first, *others), kwargs = tree.map_structure(lambda x: tensors.get(id(x), x), arguments)
    # The order of arguments differs between the two, and wrappers only pass the first one on.
    names = list(inspect.signature(call.layer.call).parameters)
    return layer(first, **dict(zip(names[1:], others, strict=False)), **kwargs)


def _tensors(arguments: Any) -> list[keras.KerasTensor]:
    return [part for part in tree.flatten(arguments) if isinstance(part, keras.KerasTensor)]


def _weights(layer: Any) -> list[keras.Variable]:
    """Return the weights of a layer or operation."""
    return layer.weights if isinstance(layer, keras.layers.Layer) else []


def _get_converted_weights(layer: keras.layers.Layer, converted: Any) -> list[np.ndarray]:
    """Return the weights of a tf_keras layer in the order of the Keras 3 layer."""
    if not isinstance(layer, keras.layers.MultiHeadAttention):
        return converted.get_weights()
    # Clustering moves the kernels to the front.
    named = {tuple(w.name.split(":")[0].split("/")[-2:]): w.numpy() for w in converted.weights}
    return [named[tuple(weight.path.split("/")[-2:])] for weight in layer.weights]


def _weighted_layers(graph: Graph) -> dict[str, keras.layers.Layer]:
    """Return the innermost layers with weights by path, except `Normalization` (constants)."""
    reached = {call.path: call.layer for call in sort_calls(graph)}
    return {
        path: layer
        for path, layer in reached.items()
        if _weights(layer) and not isinstance(layer, keras.layers.Normalization)
    }


def _copy_weights(graph: Graph, replacements: Replacements, layers: dict[str, list[Any]]) -> None:
    for path, layer in _weighted_layers(graph).items():
        chain = replacements.chain(path, layer)
        for source, target in zip(chain, layers.get(path, []), strict=False):
            _copy_layer_weights(path, source, target)


def _copy_layer_weights(path: str, source: Any, target: Any) -> None:
    shapes = [tuple(weight.shape) for weight in _weights(source)]
    expected = [tuple(weight.shape) for weight in target.weights]
    if shapes != expected:
        raise ValueError(
            f"The layer '{path}' ({type(source).__name__}) has weights of shapes {shapes}, and its "
            f"tf_keras layer has {expected}. They must be the same, in the same order."
        )
    target.set_weights([np.asarray(weight) for weight in _weights(source)])
