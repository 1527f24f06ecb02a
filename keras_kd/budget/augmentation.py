"""Random views of images, of which the teacher's outputs are stored too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

NONE = "none"
#: Stored views of each image.
VIEWS = 4
_LEAST_SIDE, _SHIFT = 16, 1 / 14


def shift(image: Any, seed: Any) -> Any:
    """Shift an image by up to a fourteenth of its size; its border is mirrored."""
    height, width, channels = image.shape
    dy, dx = max(1, round(height * _SHIFT)), max(1, round(width * _SHIFT))
    padded = tf.pad(image, [[dy, dy], [dx, dx], [0, 0]], "SYMMETRIC")
    limits = tf.constant([2 * dy + 1, 2 * dx + 1, 1])
    start = tf.random.stateless_uniform([3], seed, 0, 2**30, tf.int32) % limits
    return tf.slice(padded, start, [height, width, channels])


def shift_and_flip(image: Any, seed: Any) -> Any:
    """Shift an image, and mirror every other one from left to right."""
    return tf.image.stateless_random_flip_left_right(shift(image, seed), seed + 1)


#: By name, the function of an image and a seed; which one helps is for the search to find, because
#: the mirror image of a digit is none.
AUGMENTATIONS: dict[str, Callable[[Any, Any], Any] | None] = {
    "shifts": shift,
    NONE: None,
    "shifts and flips": shift_and_flip,
}


def augmentations(x: Any) -> list[str]:
    """Return the names of what may be tried on some inputs: nothing but images is augmented."""
    if not isinstance(x, np.ndarray) or x.ndim != 4 or x.shape[-1] not in (1, 3):
        return [NONE]
    return list(AUGMENTATIONS) if min(x.shape[1:3]) >= _LEAST_SIDE else [NONE]


def augment_samples(samples: Any, name: str, seed: int) -> Any:
    """Return samples (x, ...) without keys with a new view of each, whenever they are read."""
    augment = AUGMENTATIONS[name]
    if augment is None:
        return samples

    def add_view(number: Any, sample: Any) -> Any:
        x, *rest = sample
        return augment(x, tf.stack([tf.constant(seed, tf.int64), number])), *rest

    return samples.enumerate().map(add_view, num_parallel_calls=tf.data.AUTOTUNE)
