"""The augmented view of a batch that the student gets in training."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras

Augmentation: TypeAlias = keras.layers.Layer | Callable[[Any], Any]


def as_augmentation(augment: Any) -> Augmentation | None:
    """Return the argument `augment` of a distiller as one callable.

    Returns:
        A layer, a function or `None`; a list becomes a `keras.layers.Pipeline`.

    Raises:
        TypeError: If it is none of these.
        ValueError: If it has trainable weights.
    """
    if isinstance(augment, Sequence) and not isinstance(augment, str):
        if not augment or not all(isinstance(layer, keras.layers.Layer) for layer in augment):
            raise TypeError(
                "Distiller: a list as `augment` must hold Keras layers. "
                f"Received: augment={augment!r}"
            )
        augment = keras.layers.Pipeline(list(augment))
    if augment is not None and not callable(augment):
        raise TypeError(
            "Distiller: `augment` must be a Keras layer or a list of layers, such as "
            "keras.layers.RandomTranslation(0.1, 0.1), or a function of x. "
            f"Received: augment={augment!r}"
        )
    if isinstance(augment, keras.layers.Layer) and augment.trainable_variables:
        raise ValueError(
            "Distiller: `augment` must not have trainable weights. "
            f"Received: '{augment.name}' with {len(augment.trainable_variables)} trainable weights"
        )
    return augment


def augment_batch(augment: Augmentation | None, x: Any) -> Any:
    """Return a random view of the batch, or the batch itself if there is no augmentation."""
    if augment is None:
        return x
    if isinstance(augment, keras.layers.Layer):
        return augment(x, training=True)
    return augment(x)
