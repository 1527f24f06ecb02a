"""CIFAR-100 images as one `.npz`, and their random crops and flips on the device.

An image padded by 4 pixels has 9 × 9 crops and each of them a mirror image: 162 views. A view is
one number, so that a teacher can be run on all views once and its logits be looked up.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

PAD, SIZE = 4, 32
CROPS = 2 * PAD + 1
VIEWS = 2 * CROPS**2
#: The view of the image itself.
IDENTITY = 2 * (PAD * CROPS + PAD)
MEAN, STDDEV = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
ABOUT = (
    "CIFAR-100: a subset of 12,500 training and 2,500 test images with an unofficial split; "
    "not comparable with published numbers"
)


@dataclass(frozen=True)
class Images:
    """Training images, padded with zeros, and test images, all uint8 and on the device."""

    x: jax.Array
    y: jax.Array
    x_test: jax.Array
    y_test: jax.Array

    @classmethod
    def load(cls, path):
        """Read the file of `pack`."""
        with np.load(path) as file:
            return cls.of(**file)

    @classmethod
    def of(cls, x, y, x_test, y_test):
        padded = np.pad(x, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)))
        labels = [jnp.asarray(labels, "int32") for labels in (y, y_test)]
        return cls(jnp.asarray(padded), labels[0], jnp.asarray(x_test), labels[1])

    @classmethod
    def random(cls, count, seed=0):
        """Return random images, for the quick form."""
        rng = np.random.default_rng(seed)
        splits = [
            (rng.integers(0, 256, (count, SIZE, SIZE, 3), "uint8"), rng.integers(0, 100, count))
            for _ in range(2)
        ]
        return cls.of(*splits[0], *splits[1])

    @property
    def count(self):
        return self.x.shape[0]


def normalize(x):
    return (x.astype("float32") / 255 - jnp.array(MEAN)) / jnp.array(STDDEV)


def take_views(padded, ids, views):
    """Return views of images, normalized: the crop and the flip that each number stands for."""

    def crop(i, view):
        top, left = view // 2 // CROPS, view // 2 % CROPS
        return jax.lax.dynamic_slice(padded, (i, top, left, 0), (1, SIZE, SIZE, 3))[0]

    x = jax.vmap(crop)(ids, views)
    flipped = (views % 2 == 1)[:, None, None, None]
    return normalize(jnp.where(flipped, x[:, :, ::-1], x))
