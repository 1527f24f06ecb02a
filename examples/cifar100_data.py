"""CIFAR-100 images: from TFDS with `tf.data`, or from a `.npz` file without TensorFlow.

Both give random crops (4 pixels of padding) and flips of the training images, anew in each epoch.
"""

import math

import keras
import numpy as np

import keras_kd as kd

BATCH = 64
MEAN, STDDEV = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
QUICK, PAD, SIDE = 16, 4, 32


def load_data(path=None, seed=0, quick=False):
    """Return normalized training and test data.

    Args:
        path: A file of uint8 images `x`, `x_test` and labels `y`, `y_test`, as
            `python -m benchmarks.gpu.pack` writes it; `None` for TFDS.
        seed: Seed of the order, the crops and the flips.
        quick: Whether to take 16 images only.
    """
    size = 8 if quick else BATCH
    if path is None:
        return load_tfds(size, seed, quick)
    with np.load(path) as file:
        x, y, x_test, y_test = (file[name] for name in ("x", "y", "x_test", "y_test"))
    if quick:
        x, y, x_test, y_test = (part[:QUICK] for part in (x, y, x_test, y_test))
    return Augmented(x, y, size, seed), Images(x_test, y_test, 4 * size)


def load_tfds(size, seed, quick):
    import tensorflow as tf

    if keras.config.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")  # It only reads the data.

    def augment(sample, seed):
        image, label = sample
        image = tf.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)))
        image = tf.image.stateless_random_crop(image, (SIDE, SIDE, 3), seed)
        image = tf.image.stateless_random_flip_left_right(image, seed)
        return normalize(image), label

    splits = (f"train[:{QUICK}]", f"test[:{QUICK}]") if quick else ("train", "test")
    train = kd.datasets.load("cifar100", splits[0], batch_size=None, seed=seed)
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    train = tf.data.Dataset.zip(train, seeds).map(augment, tf.data.AUTOTUNE)
    test = kd.datasets.load("cifar100", splits[1], batch_size=4 * size)
    test = test.map(lambda image, label: (normalize(image), label))
    return train.batch(size).prefetch(tf.data.AUTOTUNE), test.prefetch(tf.data.AUTOTUNE)


def normalize(image):
    return (image - MEAN) / STDDEV


def scale(pixels):
    return normalize(pixels / np.float32(255)).astype("float32")


class Images(keras.utils.PyDataset):
    """Batches of normalized images with their labels."""

    def __init__(self, x, y, size):
        super().__init__()
        self.x, self.y, self.size = x, y.astype("int32"), size

    def __len__(self):
        return math.ceil(len(self.y) / self.size)

    def __getitem__(self, i):
        rows = self._rows(i)
        return scale(self.x[rows]), self.y[rows]

    def _rows(self, i):
        return np.arange(i * self.size, min((i + 1) * self.size, len(self.y)))


class Augmented(Images):
    """The same in random order, cropped and flipped; all depends on the seed and the epoch."""

    def __init__(self, x, y, size, seed):
        super().__init__(np.pad(x, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0))), y, size)
        self.seed, self.epoch = seed, 0
        self.draw()

    def draw(self):
        """Draw the order and the views of an epoch."""
        rng = np.random.default_rng((self.seed, self.epoch))
        self.order = rng.permutation(len(self.y))
        self.corners = rng.integers(0, 2 * PAD + 1, (2, len(self.y)))
        self.flips = rng.random(len(self.y)) < 0.5

    def on_epoch_end(self):
        """Draw the next epoch."""
        self.epoch += 1
        self.draw()

    def __getitem__(self, i):
        places = self._rows(i)
        rows, side = self.order[places], np.arange(SIDE)
        top, left = self.corners[:, places, None] + side
        x = self.x[rows[:, None, None], top[:, :, None], left[:, None]]
        x = np.where(self.flips[places, None, None, None], x[:, :, ::-1], x)
        return scale(x), self.y[rows]
