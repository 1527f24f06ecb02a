"""A student's own step is not dropped in silence."""

import warnings

import keras
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.distillers.student_methods import warn_about_own_steps
from tests import toy


class OwnLoss(keras.Model):
    def compute_loss(self, *args, **kwargs):
        return 100.0 * super().compute_loss(*args, **kwargs)


class OwnSteps(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)

    def test_step(self, data):
        return super().test_step(data)

    def compute_metrics(self, *args, **kwargs):
        return super().compute_metrics(*args, **kwargs)


def own_loss(name="student"):
    body = toy.mlp("body")
    return OwnLoss(body.inputs, body.outputs, name=name)


def test_the_methods_are_named():
    with pytest.warns(
        UserWarning, match=r"'student' \(OwnLoss\) has its own `compute_loss`, which"
    ):
        warn_about_own_steps(own_loss(), "Distiller")
    student = OwnSteps([keras.Input((5,)), layers.Dense(4)])
    names = "`train_step` and `test_step` and `compute_metrics`"
    with pytest.warns(UserWarning, match=names):
        warn_about_own_steps(student, "Distiller")


@pytest.mark.parametrize(
    "make",
    [
        lambda: kd.Distiller(own_loss(), toy.mlp("teacher")),
        lambda: kd.SelfDistiller(own_loss(), start=1),
        lambda: kd.DeepSupervision(own_loss(), ["hidden"]),
        lambda: kd.MutualLearning([toy.mlp("a"), own_loss()]),
        lambda: kd.TeacherClass(toy.mlp("teacher", units=4), "hidden", [own_loss()]),
        lambda: kd.compression.prune(
            own_loss(), 0.5, data=toy.vectors(), epochs=1, loss=toy.sparse_loss(), verbose=0
        ),
    ],
    ids=["distiller", "self", "exits", "mutual", "teacher class", "prune"],
)
def test_everything_that_trains_a_student_warns(make):
    with pytest.warns(UserWarning, match=r"has its own `compute_loss`, which .* does not call"):
        make()


def test_plain_students_raise_no_warning():
    class OwnCall(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(4)

        def call(self, x):
            return self.dense(x)

    student = OwnCall()
    student(toy.vectors()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about_own_steps(student, "Distiller")
        warn_about_own_steps(toy.mlp("student"), "Distiller")
        warn_about_own_steps(toy.cnn("student"), "Distiller")
