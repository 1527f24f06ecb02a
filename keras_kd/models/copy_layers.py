"""A copy of a Keras 3 model: the same layers, weights of its own."""

import keras

from keras_kd.models.graph import is_graph


def copy_graph(model: keras.Model) -> keras.Model:
    """Copies a Functional or Sequential model with its weights.

    Args:
        model: The model; it stays as it is.

    Returns:
        A model that shares nothing with it.
    """
    copy = keras.models.clone_model(model, clone_function=_copied_layer)
    copy.set_weights(model.get_weights())
    return copy


def _copied_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A copy of a layer, without its weights; a function in a `Lambda` is taken over."""
    if is_graph(layer):
        return keras.models.clone_model(layer, clone_function=_copied_layer)
    config = layer.get_config()
    if isinstance(layer, keras.layers.Lambda):
        config |= {"function": layer.function, "mask": layer.mask}
        return keras.layers.Lambda(**config)
    return type(layer).from_config(config)
