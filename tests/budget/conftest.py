"""A small problem, and searches of it that take seconds."""

import functools
import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.budget import files, limits, plan, recipe, students
from keras_kd.budget.problem import make_problem

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 12)).astype("float32")
SCORES = np.tanh(X @ RNG.normal(size=(12, 3)))
Y = SCORES.argmax(1)
TRAIN, VALIDATION, TEST = ((X[a:b], Y[a:b]) for a, b in ((0, 300), (300, 400), (400, 500)))

MEASURED = {}


def remember(measure):
    """Measure the costs of an untrained student or a teacher once: they follow from its layers."""

    @functools.wraps(measure)
    def measure_once(*arguments):
        *writer, model, how = arguments
        names = [each.problem.class_names for each in writer]
        key = json.dumps([measure.__name__, names, how, model.to_json()])
        if key not in MEASURED:
            MEASURED[key] = measure(*arguments)
        return MEASURED[key]

    return measure_once


def make_fast(patch):
    """Make trainings short, and files and families few."""
    patch.setattr(files.FileWriter, "measure", remember(files.FileWriter.measure))
    patch.setattr(plan, "measure_costs", remember(plan.measure_costs))
    patch.setattr(recipe, "LEAST_STEPS", 12)
    patch.setattr(recipe, "EPOCHS", 1)
    patch.setattr(files, "_RUNS", 5)
    patch.setattr(plan, "_RUNS", 5)
    patch.setattr(limits, "DEFAULT_DROP", 100)
    patch.setattr(plan, "_BYTES", {"int8": 1})
    families = {"shrunk": (0.5, True, 1.0), "scaled": (1.0, False, 1.0)}
    patch.setattr(students, "_SHRUNK", families)
    patch.setattr(files.FileWriter.write, "__defaults__", (("int8",), False))


@pytest.fixture
def fast(monkeypatch):
    make_fast(monkeypatch)


@pytest.fixture(scope="session")
def teacher():
    keras.utils.set_random_seed(0)
    dense = [layers.Dense(48, "relu", name=f"hidden{i}") for i in range(2)]
    model = keras.Sequential([keras.Input((12,)), *dense, layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(*TRAIN, epochs=12, verbose=0)
    return model


@pytest.fixture(scope="session")
def problem(teacher):
    return make_problem(teacher, TRAIN, VALIDATION, TEST)


def compress(teacher, folder, **arguments):
    given = {"test": TEST, "trials": 2, "path": folder, "verbose": 0, **arguments}
    return kd.compress(teacher, TRAIN, VALIDATION, **given)


@pytest.fixture(scope="session")
def searched(teacher, tmp_path_factory):
    """The folder of a search, and its result."""
    folder = tmp_path_factory.mktemp("search") / "compressed"
    with pytest.MonkeyPatch.context() as patch:
        make_fast(patch)
        return folder, compress(teacher, folder, max_bytes=4200, class_names=["a", "b", "c"])
