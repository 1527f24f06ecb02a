"""Views that mix the images of a batch: no label of the batch belongs to a mixed image."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_kd.losses import DistillationLoss
from keras_kd.models.keras_compat import nested_layers
from keras_kd.training.augmentation import Augmentation
from keras_kd.training.hyperparameters import Hyperparameter
from keras_kd.training.labels import Labels

#: Layers that mix the images of a batch, by name.
MIXING = {"mixup": keras.layers.MixUp, "cutmix": keras.layers.CutMix}


class LabelWeight(Hyperparameter):
    """The weight of the loss on the labels of a distiller, which stays 0 while images are mixed."""

    def check(self, instance: Any, value: Any) -> float:
        """Return a value as a number; see `Hyperparameter`.

        Raises:
            ValueError: Also if it is above 0, and the distiller mixes images and has a loss.
        """
        number = super().check(instance, value)
        if number > 0 and instance.compiled and instance.compiled_loss_fn is not None:
            check_labels_kept(instance.augment, type(instance).__name__)
        return number


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


def check_mixing(
    augment: Augmentation | None, same_view: bool, losses: Sequence[DistillationLoss], owner: str
) -> None:
    """Reject the mixing of images for the student alone, and beside losses that need labels.

    Args:
        augment: The augmentation.
        same_view: Whether the teachers get the augmented images.
        losses: The distillation losses.
        owner: Name of the class, for the message.

    Raises:
        ValueError: If it mixes the images of a batch, and the teachers get others, or a loss needs
            labels.
    """
    mixing = _find_mixing(augment)
    if mixing and not same_view:
        raise ValueError(
            f"{owner}: the teacher's answer for an image is not one for a mixture of it with "
            "another. Pass same_view=True, or augment without mixing. "
            f"Received: augment with {mixing}, same_view=False"
        )
    labeled = [loss.name for loss in losses if loss.needs_labels]
    if mixing and labeled:
        raise ValueError(
            f"{owner}: {labeled} need labels, and no label belongs to a mixed image. Choose losses "
            f"without labels, or augment without mixing. Received: augment with {mixing}"
        )


def labels_of_view(augment: Augmentation | None, labels: Labels) -> Labels:
    """Return the labels that losses and weightings may use: none if the images are mixed."""
    return replace(labels, given=None) if _find_mixing(augment) else labels


def _find_mixing(augment: Augmentation | None) -> str | None:
    """Return the kind of a layer that mixes images, `None` if there is none."""
    layers = nested_layers(augment) if isinstance(augment, keras.layers.Layer) else []
    kinds = tuple(MIXING.values())
    return next((type(layer).__name__ for layer in layers if isinstance(layer, kinds)), None)
