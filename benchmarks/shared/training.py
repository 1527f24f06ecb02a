"""Data as arrays, a network, recorded teachers and the training that all methods share."""

import os
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
from filelock import FileLock
from keras import layers

import keras_kd as kd
from keras_kd.files import atomic_write

CACHE = Path(os.environ.get("KERAS_KD_BENCHMARKS", "build/benchmarks"))

#: Whether to use few samples of each split and no `tf.function`, whose tracing takes longer than a
#: few steps. The runner sets it for quick runs.
quick_mode = False


@lru_cache(maxsize=8)
def load_arrays(name, split):
    """Return a split as arrays (x, y) in the order of the data set, read once per process."""
    dataset = kd.datasets.load(name, split, batch_size=None, shuffle=False)
    batches = list(dataset.take(256 if quick_mode else -1).batch(1000).as_numpy_iterator())
    arrays = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    for array in arrays:
        array.setflags(write=False)
    return arrays


def to_batches(x, y, size=500):
    """Return a list of batches (x, y)."""
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def compile_and_fit(model, x, y, *, loss, learning_rate, epochs, batch_size=128, seed=0, **kwargs):
    """Train with Adam and a cosine schedule that decays to zero, the same for every method.

    The order of the samples depends on the seed only.
    """
    steps = epochs * -(-len(y) // batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    keras.utils.set_random_seed(seed)
    model.compile(keras.optimizers.Adam(schedule), loss=loss, run_eagerly=quick_mode, **kwargs)
    return model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)


def sparse_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def accuracy(model, x, y):
    """Return the top-1 accuracy of a model that outputs one score per class."""
    return float(np.mean(np.argmax(model.predict(x, batch_size=500, verbose=0), axis=-1) == y))


def load_or_train(name, train):
    """Return a model that is trained once and kept on disk, e.g. a teacher that methods share."""
    path = CACHE / f"{name}.keras"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # Other processes wait for the one that trains it.
        if not path.exists():
            with atomic_write(path) as temporary:
                train().save(temporary)
    return keras.models.load_model(path, compile=False)


class RecordedTeachers:
    """Frozen teachers that run once and whose outputs are replayed in every training.

    Without augmentation a teacher has the same outputs for a sample in every epoch, so the student
    gets the weights that a live teacher gives, at the cost of the student alone. Samples and
    recorded outputs travel together: `inputs(x)` returns the dict that `student(model)` and the
    `teachers` take.

    Args:
        models: A teacher or several.
        x: The training samples.
        taps: The layers whose outputs are recorded. With several, a teacher outputs a dict.
            Defaults to the layer `logits`.
        batch_size: Of the teachers' prediction. Defaults to 500.
    """

    def __init__(self, models, x, taps=("logits",), batch_size=500):
        models = models if isinstance(models, (list, tuple)) else [models]
        self.shape, self.dtype = x.shape[1:], x.dtype
        self.records = {}
        for i, model in enumerate(models):
            outputs = [model.get_layer(tap).output for tap in taps]
            recorder = keras.Model(model.inputs, outputs)
            values = recorder.predict(x, batch_size=batch_size, verbose=0)
            for tap, value in zip(taps, values if len(taps) > 1 else [values], strict=True):
                self.records[f"teacher_{i}_{tap}"] = np.asarray(value, "float32")
        self.models = [self._replay(i, model.name, taps) for i, model in enumerate(models)]
        self.teachers = [kd.Teacher(model, outputs="logits") for model in self.models]

    @property
    def teacher(self):
        return self.teachers[0]

    def inputs(self, x):
        return {"image": x, **self.records}

    def student(self, model):
        """Return the model as one that takes the dict of inputs and ignores the records."""
        inputs = self._inputs()
        return keras.Model(inputs, model(inputs["image"]), name=f"{model.name}_and_records")

    def _replay(self, i, name, taps):
        """Return a model that takes the dict of inputs and outputs what a teacher has output."""
        inputs = self._inputs()
        outputs = {tap: layers.Identity(name=tap)(inputs[f"teacher_{i}_{tap}"]) for tap in taps}
        outputs = outputs if len(taps) > 1 else outputs[taps[0]]
        return keras.Model(inputs, outputs, name=f"{name}_{i}")

    def _inputs(self):
        recorded = {name: keras.Input(v.shape[1:], name=name) for name, v in self.records.items()}
        return {"image": keras.Input(self.shape, dtype=self.dtype, name="image"), **recorded}


def build_cnn(name, filters, units, shape=(28, 28, 1), classes=10, dropout=0.0, norm=False, seed=0):
    """Return a plain convolutional network: blocks of a 3×3 convolution and max pooling.

    Taps: `block1`, `block2`, ..., `features`, `logits`. With `norm`, batch normalization follows
    each convolution.
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
