"""What the benchmarks share: data as arrays, the models, one way to train them all."""

import os
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_kd as kd

CACHE = Path(os.environ.get("KERAS_KD_BENCHMARKS", "build/benchmarks"))

#: Whether this only proves that benchmarks run: few samples of each split, and steps that are not
#: traced, which takes longer than some steps.
quickly = False


@lru_cache(maxsize=8)
def arrays(name, split):
    """A split as arrays (x, y), in the order of the data set, read once in a process."""
    dataset = kd.datasets.load(name, split, batch_size=None, shuffle=False)
    batches = list(dataset.take(256 if quickly else -1).batch(1000).as_numpy_iterator())
    found = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    for part in found:
        part.setflags(write=False)
    return found


def compile_and_fit(model, x, y, *, loss, learning_rate, epochs, batch_size=128, seed=0, **kwargs):
    """Trains with Adam and a cosine schedule down to nought, the same for every method.

    The order of the samples depends on the seed alone.
    """
    steps = epochs * -(-len(y) // batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    keras.utils.set_random_seed(seed)
    model.compile(keras.optimizers.Adam(schedule), loss=loss, run_eagerly=quickly, **kwargs)
    return model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)


def sparse_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def accuracy(model, x, y):
    """Top-1 accuracy of a model that gives a score for each class."""
    return float(np.mean(np.argmax(model.predict(x, batch_size=500, verbose=0), axis=-1) == y))


def kept(name, make):
    """A model made once and kept on disk, e.g. a teacher that all methods share."""
    path = CACHE / f"{name}.keras"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        # Another process may be at it too: whoever is last wins, with the same weights.
        temporary = CACHE / f"{name}.{os.getpid()}.keras"
        make().save(temporary)
        os.replace(temporary, path)
    return keras.models.load_model(path, compile=False)


class Recorded:
    """Frozen teachers that said everything once, and stand in for themselves in every training.

    Without augmentation they would say the same of each image in each epoch, so the numbers are
    those of live teachers, at the cost of the student alone. Images and records travel together:
    `inputs(x)` makes the dict that `student(model)` and the `teachers` take. With several taps the
    teachers' outputs bear their names.
    """

    def __init__(self, models, x, taps=("logits",)):
        models = models if isinstance(models, (list, tuple)) else [models]
        self.shape = models[0].input_shape[1:]
        self.records = {}
        for i, model in enumerate(models):
            shown = [model.get_layer(tap).output for tap in taps]
            values = keras.Model(model.input, shown).predict(x, batch_size=500, verbose=0)
            for tap, value in zip(taps, values if len(taps) > 1 else [values], strict=True):
                self.records[f"teacher_{i}_{tap}"] = np.asarray(value, "float32")
        self.models = [self._stand_in(i, model.name, taps) for i, model in enumerate(models)]
        self.teachers = [kd.Teacher(model, outputs="logits") for model in self.models]

    @property
    def teacher(self):
        return self.teachers[0]

    def inputs(self, x):
        return {"image": x, **self.records}

    def student(self, model):
        inputs = self._inputs()
        return keras.Model(inputs, model(inputs["image"]), name=f"{model.name}_and_records")

    def _stand_in(self, i, name, taps):
        inputs = self._inputs()
        ends = {tap: layers.Identity(name=tap)(inputs[f"teacher_{i}_{tap}"]) for tap in taps}
        return keras.Model(inputs, ends if len(taps) > 1 else ends[taps[0]], name=f"{name}_{i}")

    def _inputs(self):
        recorded = {name: keras.Input(v.shape[1:], name=name) for name, v in self.records.items()}
        return {"image": keras.Input(self.shape, name="image"), **recorded}


def convolutional(
    name, filters, units, shape=(28, 28, 1), classes=10, dropout=0.0, norm=False, seed=0
):
    """A plain convolutional network: blocks of 3×3 convolutions, each block halving the map.

    Taps: `block1`, `block2`, ..., `features`, `logits`. With `norm` each convolution is followed
    by batch normalisation.
    """
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input(shape)
    for i, width in enumerate(filters, 1):
        activation = None if norm else "relu"
        x = layers.Conv2D(width, 3, padding="same", activation=activation, name=f"conv{i}")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x)) if norm else x
        x = layers.MaxPooling2D(name=f"block{i}")(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(dropout)(x) if dropout else x
    x = layers.Dense(units, activation="relu", name="features")(x)
    x = layers.Dropout(dropout)(x) if dropout else x
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)
