"""The task of teachers without a student."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.teachers.teacher import as_teachers
from keras_kd.teachers.teacher_tasks import (
    WatchedOutput,
    as_output,
    common_output,
    single_evidence,
)
from tests import toy

X, _ = toy.vectors()


def common(*teachers):
    output = common_output(as_teachers(list(teachers)), "f")
    return output.task, output.probabilities


def compiled(loss, **arguments):
    model = toy.mlp("compiled", **arguments)
    model.compile(loss=loss)
    return model


def test_any_teacher_that_tells_speaks_for_all():
    linear = toy.mlp("linear")
    assert common(linear, linear) == (None, False)
    assert common(linear, toy.mlp("softmax", activation="softmax")) == ("classes", True)
    assert common(linear, compiled("mse")) == ("values", False)
    assert common(linear, kd.Teacher(linear, outputs="values")) == ("values", False)
    assert common(toy.mlp("one", classes=1, activation="sigmoid")) == ("binary", True)
    assert common(toy.mlp("several", activation="sigmoid")) == ("labels", True)


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        (
            lambda: [toy.mlp("a", activation="softmax"), toy.mlp("b", activation="sigmoid")],
            "f: the teachers must have the same task.*'b': 'independent labels'.*outputs=",
        ),
        (lambda: [toy.mlp("a"), toy.mlp("b", classes=3)], "same size. Received: {'a': 4, 'b': 3}"),
    ],
)
def test_teachers_of_different_tasks_or_sizes_are_refused(teachers, message):
    with pytest.raises(ValueError, match=message):
        common(*teachers())


def test_several_outputs_are_refused():
    x = keras.Input((5,))
    model = keras.Model(x, [layers.Dense(2, name="a")(x), layers.Dense(3, name="b")(x)], name="two")
    with pytest.raises(ValueError, match=r"f: teacher 'two' has several outputs, \['a', 'b'\]"):
        single_evidence(kd.Teacher(model), "f")


@pytest.mark.parametrize(
    ("activation", "task"),
    [(None, "classes"), ("softmax", "classes"), ("sigmoid", "labels"), ("sigmoid", "values")],
)
def test_outputs_are_logits_or_numbers_unchanged(activation, task):
    teacher, logits = toy.mlp("t", activation=activation), np.asarray(toy.mlp("t")(X))
    found = WatchedOutput(kd.Teacher(teacher, outputs="auto"), task)(X)
    np.testing.assert_allclose(found, teacher(X) if task == "values" else logits, rtol=1e-5)


class Hidden(keras.Model):
    """A subclassed model whose sigmoid cannot be seen."""

    def __init__(self):
        super().__init__(name="hidden")
        self.head = layers.Dense(4)

    def call(self, x):
        return 1 / (1 + keras.ops.exp(-self.head(x)))


def test_probabilities_of_a_hidden_sigmoid_become_log_odds():
    model = Hidden()
    model(X)
    watched = WatchedOutput(kd.Teacher(model, outputs="probabilities"), "labels")
    np.testing.assert_allclose(watched(X), model.head(X), rtol=1e-4, atol=1e-5)
    log_p = np.log(np.float32([0.25, 0.5]))
    np.testing.assert_allclose(as_output(log_p, "probabilities", "classes"), log_p)
    np.testing.assert_allclose(as_output(log_p, "softmax", "binary"), log_p)
