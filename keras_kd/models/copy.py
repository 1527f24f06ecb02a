"""Copies of models, with variables of their own."""

from typing import Any

import keras

from keras_kd.models.graph import built_inputs, is_graph
from keras_kd.models.keras_compat import nested_layers


def copy_model(model: keras.Model) -> keras.Model:
    """Return a copy of a built model: the same layers and weights, no shared variables.

    `Lambda` layers share their function with the copy, since not every function can be serialized.

    Raises:
        ValueError: If the model cannot be rebuilt from its configuration.
    """
    try:
        copy = _rebuild(model)
        copy.set_weights(model.get_weights())
    except Exception as error:
        raise ValueError(
            f"'{model.name}' cannot be copied: it must be Functional or Sequential, or its class "
            "must have a `get_config` with the arguments of its constructor. The cause: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if shared := {id(weight) for weight in copy.weights} & {id(weight) for weight in model.weights}:
        raise ValueError(
            f"'{model.name}' cannot be copied: its copy shares {len(shared)} weights with it. Let "
            "its class make its own layers."
        )
    return copy


def _rebuild(model: keras.Model) -> keras.Model:
    """Return a model with the same layers, and other weights."""
    if type(model) is keras.Sequential or type(model).__module__.startswith("keras.src."):
        return _clone(model)
    if not is_graph(model):
        return _from_class(model)
    # A class that builds its own graph, as those of KerasHub, may share weights between layers in
    # ways that their configurations do not tell; others have no configuration of their own.
    try:
        copy = _from_class(model)
    except Exception:
        return _clone(model)
    shapes = [[weight.shape for weight in one.weights] for one in (model, copy)]
    return copy if shapes[0] == shapes[1] else _clone(model)


def _from_class(model: keras.Model) -> keras.Model:
    copy = type(model).from_config(model.get_config())
    if not copy.built:
        copy(built_inputs(model))
    pairs = zip(nested_layers(model), nested_layers(copy), strict=True)
    for layer, twin in pairs:  # Each before those inside it.
        if twin.trainable != layer.trainable:
            twin.trainable = layer.trainable
    return copy


def _clone(model: keras.Model) -> keras.Model:
    return keras.models.clone_model(model, clone_function=_clone_layer)


def _clone_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    return _rebuild(layer) if is_graph(layer) else copy_layer(layer)


def copy_layer(layer: Any, /, **changes: Any) -> Any:
    """Return a layer, or operation of `keras.ops`, that is made from the configuration of another.

    Args:
        layer: The layer or operation.
        **changes: Entries of the configuration to replace, such as `dtype`.
    """
    config = {**layer.get_config(), **changes}
    if isinstance(layer, keras.layers.Lambda):
        return keras.layers.Lambda(**{**config, "function": layer.function, "mask": layer.mask})
    return type(layer).from_config(config)
