"""The students of a search."""

import keras
import numpy as np
import optuna
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.budget.students import Students
from tests.budget.fakes import config

LIMITS = {"int8_bytes": 4000.0}


def of(family, **changes):
    return config(family, limits=LIMITS, **changes)


def test_families_of_the_teacher(teacher):
    students = Students(teacher)
    shrunk, scaled = (
        students.build(of(family), None, 0)
        for family in ("shrunk, half balanced", "scaled, half balanced")
    )
    assert [w.shape for w in shrunk.weights] == [w.shape for w in scaled.weights]
    size = students.size("shrunk, half balanced", LIMITS)
    assert size.int8_bytes <= 4000
    assert shrunk.count_params() == size.parameters
    kernel = teacher.get_layer("hidden0").kernel.numpy()
    columns = {tuple(column) for column in kernel.T}
    assert {tuple(c) for c in shrunk.get_layer("hidden0").kernel.numpy().T} <= columns
    assert not {tuple(c) for c in scaled.get_layer("hidden0").kernel.numpy().T} & columns
    assert "shrunk, half the blocks" not in students.families


def test_the_same_arguments_give_the_same_student(teacher):
    students = Students(teacher)
    one, other = (students.build(of("scaled, balanced"), None, 5) for _ in range(2))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers]


def test_residual_teachers_lose_blocks():
    x = inputs = keras.Input((8,))
    x = layers.Dense(16)(x)
    for _ in range(2):
        x = layers.Add()([x, layers.Dense(16)(layers.Dense(32, activation="relu")(x))])
    students = Students(keras.Model(inputs, layers.Dense(3)(x)))
    whole = config("shrunk, half the blocks")
    assert sum(isinstance(one, layers.Add) for one in students.build(whole, None, 0).layers) == 1


def test_own_students_are_copied_or_built(teacher):
    def build(trial):
        width = trial.suggest_int("width", 4, 8)
        return keras.Sequential([keras.Input((12,)), layers.Dense(width), layers.Dense(3)])

    students = Students(teacher, [teacher, build])
    copied = students.build(config("students[0]"), None, 0)
    assert copied is not teacher
    np.testing.assert_array_equal(copied.get_weights()[0], teacher.get_weights()[0])
    trial = optuna.trial.FixedTrial({"width": 5})
    built = students.build(config("students[1]"), trial, 0)
    assert built.layers[0].units == 5
    assert built.layers[0].name == "dense"  # Whatever the process built before.
    assert students.builds("students[1]")
    assert not students.builds("students[0]")
    assert students.families[:2] == ["students[0]", "students[1]"]


def test_too_small_limits_give_no_student(teacher):
    students = Students(teacher)
    assert students.build(config("shrunk, even", limits={"parameters": 5.0}), None, 0) is None
    assert students.least("parameters") == 12 + 1 + 1 + 1 + 3 + 3


def test_what_is_no_student_is_rejected(teacher):
    with pytest.raises(TypeError, match="`students` must be Keras models, or functions"):
        Students(teacher, ["small.keras"])
    students = Students(teacher, [lambda trial: "small"])
    with pytest.raises(TypeError, match=r"must return a keras.Model. Received: 'small'"):
        students.build(config("students[0]"), None, 0)


def test_a_teacher_that_cannot_be_shrunk_needs_students():
    linear = keras.Sequential([keras.Input((12,)), layers.Dense(3)])
    with pytest.raises(ValueError, match="cannot be shrunk: pass `students`.* no channels"):
        Students(linear)
    students = Students(linear, [linear])
    assert students.families == ["students[0]"]
    assert kd.compression.channel_groups(linear).groups == ()
