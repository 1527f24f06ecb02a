"""Teacher-Class Network on IMDB: the 1,000 most frequent words, the last 500 of each review.

Teacher and students are trained on all 25,000 training reviews.
"""

import keras
from keras import layers

from benchmarks.teacher_class.problem import LAYER, Problem


def build_teacher():
    """Return the authors' teacher: 2,131,969 parameters, 256 units."""
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


def build_reader(embedding, filters, size):
    """Return an embedding, a convolution with maximum and mean over the words, a dense layer."""
    inputs = keras.Input((500,), dtype="int32")
    x = layers.Dropout(0.2)(layers.Embedding(1000, embedding)(inputs))
    x = layers.Conv1D(filters, 3, activation="relu")(x)
    pooled = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)]
    x = layers.Dropout(0.2)(layers.Concatenate()(pooled))
    return keras.Model(inputs, layers.Dense(size)(x))


PROBLEM = Problem(
    data="imdb_reviews",
    teacher=build_teacher,
    teacher_settings={"learning_rate": 1e-3, "epochs": 3},
    students={"class": lambda: [build_reader(16, 48, 64) for _ in range(4)]},
    single=lambda: build_reader(66, 160, 1),
    mimicry={"class": {"learning_rate": 5e-3, "epochs": 4}},
    tuning={"learning_rate": 1e-3, "epochs": 2},
    titles={
        "teacher": "the authors' teacher",
        "class": "our 4 students",
        "single": "a single student, distilled",
    },
    authors={"teacher": "85.51", "class": "82.41 (their 4 students)"},
)
plan, run, report = PROBLEM.plan, PROBLEM.run, PROBLEM.report
