"""The augmented view of a batch that the student gets in training."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras

from keras_kd.models.keras_compat import nested_layers

Augmentation: TypeAlias = keras.layers.Layer | Callable[[Any], Any]
#: Layers that mix the images of a batch, by name. No label of the batch belongs to a mixed image.
MIXING = {"mixup": keras.layers.MixUp, "cutmix": keras.layers.CutMix}


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


def check_labels_kept(augment: Augmentation | None, owner: str) -> None:
    """Reject the mixing of images in a training on labels.

    Args:
        augment: The augmentation.
        owner: Name of the class, for the message.

    Raises:
        ValueError: If it mixes the images of a batch.
    """
    if mixing := _find_mixing(augment):
        raise ValueError(
            f"{owner}: `augment` changes the images only, and no label belongs to a mixed image. "
            "Train without the labels (student_loss_weight=0), as kd.function_matching does, or "
            f"mix images and labels in the data set. Received: augment with {mixing}"
        )


def check_same_mixing(augment: Augmentation | None, same_view: bool, owner: str) -> None:
    """Reject the mixing of images for the student alone.

    Args:
        augment: The augmentation.
        same_view: Whether the teachers get the augmented images.
        owner: Name of the class, for the message.

    Raises:
        ValueError: If it mixes the images of a batch, and the teachers get others.
    """
    mixing = _find_mixing(augment)
    if mixing and not same_view:
        raise ValueError(
            f"{owner}: the teacher's answer for an image is not one for a mixture of it with "
            "another. Pass same_view=True, or augment without mixing. "
            f"Received: augment with {mixing}, same_view=False"
        )


def _find_mixing(augment: Augmentation | None) -> str | None:
    """Return the kind of a layer that mixes images, `None` if there is none."""
    layers = nested_layers(augment) if isinstance(augment, keras.layers.Layer) else []
    kinds = tuple(MIXING.values())
    return next((type(layer).__name__ for layer in layers if isinstance(layer, kinds)), None)
