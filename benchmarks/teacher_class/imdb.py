"""The Teacher-Class Network on IMDB reviews: the 1,000 most frequent words, the last 500 of each.

Teacher and students learn from all 25,000 training reviews.
"""

import keras
from keras import layers

from benchmarks.teacher_class.problem import LAYER, Problem


def teacher():
    """The authors' teacher: 2,131,969 parameters, 256 units."""
    return keras.Sequential(
        [
            keras.Input((500,), dtype="int32"),
            layers.Embedding(1000, 32),
            layers.Conv1D(64, 3, padding="same", activation="relu"),
            layers.Conv1D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling1D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(256, activation="relu", name=LAYER),
            layers.Dense(1, name="logits"),
        ],
        name="teacher",
    )


def reader(embedding, filters, size):
    """Words, what three in a row say most strongly and on the whole, a dense layer."""
    inputs = keras.Input((500,), dtype="int32")
    x = layers.Dropout(0.2)(layers.Embedding(1000, embedding)(inputs))
    x = layers.Conv1D(filters, 3, activation="relu")(x)
    ends = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)]
    x = layers.Dropout(0.2)(layers.Concatenate()(ends))
    return keras.Model(inputs, layers.Dense(size)(x))


PROBLEM = Problem(
    data="imdb_reviews",
    teacher=teacher,
    teacher_settings={"learning_rate": 1e-3, "epochs": 3},
    students={"class": lambda: [reader(16, 48, 64) for _ in range(4)]},
    single=lambda: reader(66, 160, 1),
    mimicry={"class": {"learning_rate": 5e-3, "epochs": 4}},
    tuning={"learning_rate": 1e-3, "epochs": 2},
    titles={
        "teacher": "the authors' teacher",
        "class": "4 students of ours",
        "single": "a single student, distilled",
    },
    authors={"teacher": "85.51", "class": "82.41 (4 students of theirs)"},
)
plan, run, report = PROBLEM.plan, PROBLEM.run, PROBLEM.report
