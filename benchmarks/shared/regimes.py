"""Regimes of distillation: how large the student is, how many labels, how good the teacher.

Labels come from the start of the training split. Settings are chosen on validation samples that
neither teachers nor students are trained on.
"""

import dataclasses
from functools import lru_cache

import keras
from keras import layers

from benchmarks.shared.training import (
    accuracy,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)
from benchmarks.teacher_class.data import tokenize


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set: its splits, its classes, and how each teacher is trained (labels, epochs)."""

    train: int
    validation: str
    classes: int
    strong: tuple[int, int]
    weak: tuple[int, int]
    own_epochs: int
    teacher_width: int


@dataclasses.dataclass(frozen=True)
class Regime:
    """A student's size in parameters, its labels and epochs, and its teacher."""

    data: str
    size: str
    labels: int
    epochs: int
    teacher: str

    @property
    def title(self):
        return f"{NAMES[self.data]}, {self.size}, {self.labels:,} labels, {self.epochs} epochs"


NAMES = {
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "imdb_reviews": "IMDB",
    "cifar100": "CIFAR-100",
}
DATA = {
    "fashion_mnist": Data(50_000, "train[50000:55000]", 10, (50_000, 8), (300, 20), 30, 32),
    "cifar10": Data(15_000, "train[15000:]", 10, (15_000, 20), (300, 20), 30, 64),
    "imdb_reviews": Data(20_000, "train[20000:]", 2, (20_000, 3), (300, 8), 8, 32),
    "cifar100": Data(10_000, "train[10000:]", 100, (10_000, 30), (1_000, 20), 30, 64),
}
REGIMES = {
    "1": Regime("fashion_mnist", "1.5k", 3_000, 20, "strong"),
    "2": Regime("fashion_mnist", "1.5k", 3_000, 20, "weak"),
    "3": Regime("fashion_mnist", "1.5k", 10_000, 20, "strong"),
    "4": Regime("fashion_mnist", "25k", 1_000, 60, "strong"),
    "5": Regime("fashion_mnist", "25k", 3_000, 20, "weak"),
    "6": Regime("fashion_mnist", "25k", 3_000, 20, "own"),
    "7": Regime("fashion_mnist", "25k", 3_000, 60, "strong"),
    "8": Regime("fashion_mnist", "25k", 50_000, 3, "strong"),
    "9": Regime("fashion_mnist", "250k", 10_000, 10, "strong"),
    "10": Regime("cifar10", "25k", 5_000, 20, "strong"),
    "11": Regime("cifar10", "25k", 15_000, 10, "strong"),
    "12": Regime("cifar10", "250k", 5_000, 20, "own"),
    "13": Regime("imdb_reviews", "25k", 1_000, 40, "strong"),
    "14": Regime("imdb_reviews", "250k", 10_000, 8, "strong"),
    "15": Regime("imdb_reviews", "25k", 1_000, 40, "own"),
}
#: Took no part in the choice of the defaults.
HOLDOUT = {
    "16": Regime("cifar100", "25k", 5_000, 20, "strong"),
    "17": Regime("cifar100", "250k", 5_000, 20, "own"),
}
#: By size: filters of the two convolutions, pixels of the last map, units of the dense layer.
WIDTHS = {"1.5k": (8, 14, 1, None), "25k": (12, 24, 3, 96), "250k": (16, 32, 7, 150)}
WORDS = {"25k": 24, "250k": 240}


@lru_cache(maxsize=4)
def load_samples(name, split):
    """Return a split as arrays (x, y); reviews as their last 200 word indices."""
    x, y = load_arrays(name, split)
    return (tokenize(x)[:, -200:] if name == "imdb_reviews" else x), y


def labeled(regime):
    return load_samples(regime.data, f"train[:{regime.labels}]")


def build_student(regime, seed):
    """Return a student of the regime's size, with logits."""
    keras.utils.set_random_seed(seed)
    classes = DATA[regime.data].classes
    if regime.data == "imdb_reviews":
        inputs, x = _reader(WORDS[regime.size])
        return keras.Model(inputs, layers.Dense(classes, name="logits")(x))
    first, second, pixels, units = WIDTHS[regime.size]
    shape = (28, 28, 1) if regime.data == "fashion_mnist" else (32, 32, 3)
    x = inputs = keras.Input(shape)
    for width in (first, second):
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.AveragePooling2D(x.shape[1] // pixels)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(units, activation="relu")(x) if units else x
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


def _reader(width):
    """Return inputs and features: embeddings of words and their mean and maximum."""
    inputs = keras.Input((200,), dtype="int32")
    x = layers.Embedding(1000, width)(inputs)
    pooled = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)]
    return inputs, layers.Concatenate()(pooled)


def load_teacher(regime, quick=False):
    """Return the regime's teacher, trained once and kept on disk."""
    data = DATA[regime.data]
    count, epochs = {
        "strong": data.strong,
        "weak": data.weak,
        "own": (regime.labels, data.own_epochs),
    }[regime.teacher]

    def train():
        model = build_teacher(regime.data)
        x, y = load_samples(regime.data, f"train[:{count}]")
        settings = {"learning_rate": 2e-3, "epochs": 1 if quick else epochs}
        compile_and_fit(model, x, y, loss=sparse_loss(), **settings)
        return model

    return load_or_train(f"regimes_{regime.data}_{count}{'_quick' if quick else ''}", train)


def build_teacher(name):
    keras.utils.set_random_seed(1000)
    data = DATA[name]
    if name == "imdb_reviews":
        inputs = keras.Input((200,), dtype="int32")
        x = layers.Dropout(0.3)(layers.Embedding(1000, data.teacher_width)(inputs))
        x = layers.Conv1D(2 * data.teacher_width, 3, activation="relu")(x)
        pooled = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)]
        x = layers.Dropout(0.3)(layers.Concatenate()(pooled))
    else:
        x = inputs = keras.Input((28, 28, 1) if name == "fashion_mnist" else (32, 32, 3))
        for i in range(3):
            width = data.teacher_width * 2**i // 2
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x)))
        x = layers.Dropout(0.4)(layers.Flatten()(x))
        x = layers.Dropout(0.4)(layers.Dense(256, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(data.classes, name="logits")(x), name="teacher")


def accuracies(model, name):
    """Return the accuracy on the validation samples and on the test samples."""
    splits = {"validation": DATA[name].validation, "test": "test"}
    return {key: accuracy(model, *load_samples(name, split)) for key, split in splits.items()}
