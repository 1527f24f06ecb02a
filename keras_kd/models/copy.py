"""A copy of a model with weights of its own."""

import keras

from keras_kd.models.graph import built_inputs, is_graph


def copy_model(model: keras.Model) -> keras.Model:
    """A copy of a built model: the same layers under the same names, weights of its own.

    Args:
        model: A built `keras.Model`: Functional, Sequential, or subclassed with a `get_config` that
            `from_config` takes.

    Returns:
        The copy, with the values of the model's weights, uncompiled.

    Raises:
        ValueError: When the model cannot be made again from its configuration.
    """
    try:
        if is_graph(model):
            copy = keras.models.clone_model(model)
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
