"""Teachers that training the student would change are rejected."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.teachers.shared_weights import check_shared_weights
from tests import toy


def pair(*shared):
    """A teacher and a student with the same first layers."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((5,))
    for layer in shared:
        x = layer(x)
    models = [keras.Model(inputs, layers.Dense(4, name=f"{n}_head")(x), name=n) for n in "ts"]
    return models[0], models[1]


def frozen(layer):
    layer.trainable = False
    return layer


def nested(**kwargs):
    parts = [keras.Input((5,)), layers.Dense(3, name="inside"), layers.Dense(5, name="other")]
    return keras.Sequential(parts, name="backbone", **kwargs)


def check(teacher, student):
    check_shared_weights(kd.Teacher(teacher), student)


@pytest.mark.parametrize(
    ("shared", "names"),
    [
        ([layers.Dense(6, name="backbone")], r"\['backbone'\]"),
        ([nested()], r"\['backbone'\]"),
        ([frozen(layers.Dense(6, name="a")), layers.Dense(5, name="b")], r"\['b'\]"),
        ([layers.BatchNormalization(name="norm")], r"\['norm'\]"),
        ([layers.BatchNormalization(center=False, scale=False, name="norm")], r"\['norm'\]"),
        ([frozen(layers.SpectralNormalization(layers.Dense(3), name="norm"))], r"\['norm'\]"),
    ],
    ids=["dense", "nested", "partly frozen", "norm", "statistics", "spectral norm"],
)
def test_shared_layers_that_training_changes_are_named(shared, names):
    with pytest.raises(
        ValueError, match=rf"'s' and teacher 't' share trainable layers.*clone_model.*{names}$"
    ):
        check(*pair(*shared))


@pytest.mark.parametrize(
    "shared",
    [
        [frozen(layers.Dense(6)), frozen(layers.BatchNormalization())],
        [frozen(nested())],
        [layers.Normalization(mean=1.0, variance=2.0), layers.Dropout(0.5)],
    ],
    ids=["frozen", "nested", "no weights that change"],
)
def test_shared_layers_that_stay_unchanged_are_accepted(shared):
    teacher, student = pair(*shared)
    before = teacher.get_weights()
    x, y = toy.vectors()
    distiller = kd.Distiller(student, teacher)
    distiller.compile(keras.optimizers.SGD(0.5), toy.sparse_loss(), run_eagerly=True)
    distiller.fit(x, y, verbose=0)
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


class Tied(layers.Layer):
    """Uses a variable of another layer."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def call(self, x):
        return ops.matmul(x, self.kernel)


def test_a_shared_variable_is_named_if_no_layer_is_shared():
    teacher, inputs = toy.mlp("t"), keras.Input((8,))
    student = keras.Model(inputs, Tied(teacher.get_layer("head").kernel)(inputs), name="s")
    with pytest.raises(ValueError, match=r"shared layers \['t?/?head/kernel'\]"):
        check(teacher, student)


def test_copies_share_nothing():
    teacher = toy.cnn("t")
    copy = keras.models.clone_model(teacher)
    copy.set_weights(teacher.get_weights())
    check(copy, teacher)


def test_every_distiller_checks_its_teachers():
    teacher, student = pair(layers.Dense(8, activation="relu", name="backbone"))
    with pytest.raises(ValueError, match="backbone"):
        kd.Distiller(student, [toy.mlp("other"), kd.Teacher(teacher)])
    distiller = kd.Distiller(student, toy.mlp("other"))
    with pytest.raises(ValueError, match="backbone"):
        distiller.set_teachers(teacher)
    chunk = keras.Model(student.inputs, student.get_layer("backbone").output[:, :8], name="chunk")
    with pytest.raises(ValueError, match="'chunk' and teacher 't' share trainable layers"):
        kd.TeacherClass(teacher, "backbone", [chunk])


def test_layers_that_are_unfrozen_later_are_rejected_by_fit():
    backbone = frozen(layers.Dense(8, name="backbone"))
    teacher, student = pair(backbone)
    distiller = kd.Distiller(student, teacher)
    distiller.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    backbone.trainable = True
    with pytest.raises(ValueError, match="share trainable layers.*backbone"):
        distiller.fit(*toy.vectors(), verbose=0)
