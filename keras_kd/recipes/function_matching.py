"""Function matching: one view for teacher and student, mixed images, no labels, many epochs."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.mixed_images import MIXING
from keras_kd.losses import SoftTargets
from keras_kd.models.graph import require_built
from keras_kd.training.keywords import explain_keywords


@explain_keywords(Distiller)
def function_matching(
    student: keras.Model,
    teachers: Any,
    augment: keras.layers.Layer | Sequence[keras.layers.Layer] | None = None,
    mixing: str | None = "mixup",
    losses: Any = None,
    student_loss_weight: float = 0.0,
    seed: int | None = None,
    **distiller: Any,
) -> Distiller:
    """Return a distiller that matches the teacher's function instead of the labels.

    Teacher and student get the same view of each image: augmented, and mixed with another image of
    the batch. No label belongs to a mixed image; the teacher's answer for it is the target. Every
    epoch shows new inputs, so the student does not overfit however long the training is: give it
    several times the epochs of a training on labels, and a learning rate that decays to zero.

    Args:
        student: As for `Distiller`.
        teachers: As for `Distiller`. For stored outputs (`KnowledgeCache.build(..., views=)`) pass
            `mixing=None` and no `augment`: the views of the cache are the same for both.
        augment: A Keras layer or a list of layers, applied before the mixing. Defaults to `None`.
        mixing: `"mixup"`, the weighted mean of two images with a uniform weight, `"cutmix"`, a
            rectangle of another image, or `None`. Defaults to `"mixup"`.
        losses: As for `Distiller`. Defaults to `SoftTargets(temperature=1)`.
        student_loss_weight: Weight of the labels, 0 with mixing. Defaults to `0.0`.
        seed: Seed of the mixing. Defaults to `None`.
        **distiller: Other arguments of `Distiller`.

    Returns:
        A `Distiller`, to be compiled and fitted.

    Raises:
        TypeError: If `augment` is neither a layer nor a list of layers.
        ValueError: If `mixing` is unknown, or the student's input is not a batch of images.

    Example:
        >>> flip = keras.layers.RandomFlip("horizontal")
        >>> distiller = kd.function_matching(student, teacher, augment=flip)
        >>> schedule = keras.optimizers.schedules.CosineDecay(1e-2, steps)
        >>> distiller.compile(keras.optimizers.Adam(schedule))
        >>> distiller.fit(images, epochs=200)

    Reference:
        Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent",
        arXiv:2106.05237.
    """
    require_built(student, "The student")
    parts = [augment] if isinstance(augment, keras.layers.Layer) else augment or []
    if not isinstance(parts, Sequence) or isinstance(parts, str):
        raise TypeError(
            "function_matching: `augment` must be a Keras layer or a list of layers. "
            f"Received: augment={augment!r}"
        )
    if mixing is not None:
        parts = [*parts, _mixing_layer(mixing, student, seed)]
    return Distiller(
        student,
        teachers,
        SoftTargets(temperature=1.0) if losses is None else losses,
        student_loss_weight,
        augment=parts or None,
        **distiller,
    )


def _mixing_layer(mixing: str, student: keras.Model, seed: int | None) -> keras.layers.Layer:
    """Return the layer that mixes the images of a batch."""
    if mixing not in MIXING:
        raise ValueError(
            f"function_matching: `mixing` must be one of {list(MIXING)} or None. "
            f"Received: mixing={mixing!r}"
        )
    shapes = keras.tree.map_structure(lambda x: tuple(x.shape), student.inputs)
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            "function_matching: images can be mixed, other inputs cannot. Pass mixing=None. "
            f"Received: mixing={mixing!r} and a student with inputs of shape {shapes}"
        )
    return MIXING[mixing](1.0, seed=seed)
