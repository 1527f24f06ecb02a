"""Copies of models, with variables of their own."""

from typing import Any

import keras

from keras_kd.models.graph import built_inputs, is_graph


def copy_model(model: keras.Model) -> keras.Model:
    """Return a copy of a built model: the same layers and weights, no shared variables.

    `Lambda` layers share their function with the copy, since not every function can be serialized.

    Raises:
        ValueError: If the model cannot be rebuilt from its configuration.
    """
    try:
        if is_graph(model):
            copy = _clone(model)
        else:
            copy = type(model).from_config(model.get_config())
            copy(built_inputs(model))
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


def _clone(model: keras.Model) -> keras.Model:
    return keras.models.clone_model(model, clone_function=_clone_layer)


def _clone_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    return _clone(layer) if is_graph(layer) else copy_layer(layer)


def copy_layer(layer: Any, **changes: Any) -> Any:
    """Return a layer, or operation of `keras.ops`, that is made from the configuration of another.

    Args:
        layer: The layer or operation.
        **changes: Entries of the configuration to replace, such as `dtype`.
    """
    config = {**layer.get_config(), **changes}
    if isinstance(layer, keras.layers.Lambda):
        return keras.layers.Lambda(**{**config, "function": layer.function, "mask": layer.mask})
    return type(layer).from_config(config)
