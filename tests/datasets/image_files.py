"""Image files by class."""

import numpy as np
import tensorflow as tf


def write_images(folder, classes, count=5, size=8, channels=1):
    """Write PNG files by class and return their pixels by path."""
    rng, pixels = np.random.default_rng(0), {}
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            path = folder / name / f"{i:03}.png"
            pixels[path] = rng.integers(0, 256, (size, size, channels), dtype="uint8")
            tf.io.write_file(str(path), tf.io.encode_png(pixels[path]))
    return pixels
