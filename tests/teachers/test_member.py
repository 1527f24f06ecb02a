"""The logits of a teacher in the form of the student's: classes, yes or no, hidden sigmoids."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.models.taps import Tap
from keras_kd.teachers.class_map import ClassMap
from keras_kd.teachers.member import Member
from keras_kd.teachers.teacher import Teacher
from tests import toy

OUTPUT = Tap(None, logits=True)
X, _ = toy.vectors()


def member(model, class_map=None, units=None, **kwargs):
    watched = Teacher(model, **kwargs).watch([OUTPUT])
    return Member(watched, class_map or ClassMap(), {OUTPUT: units} if units else None)


def converted(one):
    return np.asarray(one.convert(one(X))[OUTPUT])


def logits(model):
    return np.asarray(Teacher(model).watch([OUTPUT])(X)[OUTPUT])


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_classes_that_the_student_does_not_have_are_dropped(activation):
    model = toy.mlp("t", activation=activation)
    one = member(model, ClassMap((3, 1), (0, 2)), classes=[None, 2, None, 0])
    np.testing.assert_array_equal(converted(one), logits(model)[:, [3, 1]])
    assert one.shapes == {OUTPUT: (None, 2)}
    assert one.activations == {OUTPUT: activation}


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_logit_becomes_the_logits_of_two_classes(activation):
    model = toy.mlp("t", classes=1, activation=activation)
    one, z = member(model, units=2), logits(model)
    np.testing.assert_array_equal(converted(one), np.concatenate([0 * z, z], -1))
    assert (one.shapes[OUTPUT], one.activations[OUTPUT]) == ((None, 2), "softmax")


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_two_logits_become_their_difference(activation):
    model = toy.mlp("t", classes=2, activation=activation)
    one, z = member(model, units=1), logits(model)
    np.testing.assert_array_equal(converted(one), z[:, 1:] - z[:, :1])
    assert (one.shapes[OUTPUT], one.activations[OUTPUT]) == ((None, 1), "sigmoid")


@pytest.mark.parametrize(
    ("classes", "activation", "units", "outputs"),
    [
        (1, None, 1, "auto"),
        (2, "softmax", 2, "auto"),
        (2, "sigmoid", 1, "auto"),
        (1, "tanh", 2, "auto"),
        (1, None, 2, "values"),
        (1, "sigmoid", 3, "auto"),
    ],
)
def test_other_outputs_stay_unchanged(classes, activation, units, outputs):
    model = toy.mlp("t", classes=classes, activation=activation)
    one = member(model, units=units, outputs=outputs)
    assert one.shapes[OUTPUT] == (None, classes)
    outputs = one(X)
    assert one.convert(outputs)[OUTPUT] is outputs[OUTPUT]


def test_hidden_probabilities_are_read_as_a_softmax_or_a_sigmoid():
    end = layers.Lambda(lambda x: 1 / (1 + ops.exp(-x)))
    dense = layers.Dense(3)
    model = keras.Sequential([keras.Input((5,)), dense, end])
    one = member(model, outputs="probabilities")
    np.testing.assert_allclose(converted(one), np.log(model(X)), rtol=1e-5)
    one.sigmoids = {OUTPUT}
    np.testing.assert_allclose(converted(one), dense(X), rtol=1e-4, atol=1e-5)


def test_hidden_taps_are_not_converted():
    watched = Teacher(toy.mlp("t"), classes=[None, 0, 1, None]).watch([OUTPUT, Tap("hidden")])
    one = Member(watched, ClassMap((1, 2), None))
    outputs = one(X)
    assert one.convert(outputs)[Tap("hidden")] is outputs[Tap("hidden")]
    assert one.shapes[Tap("hidden")] == (None, 8)


@pytest.mark.parametrize(
    ("classes", "kept", "message"),
    [
        ([0, 1, 2], None, "'t' has 4 outputs, so `classes` must have 4 entries"),
        ([0, None, None, None], (0,), "two of the student's classes or more"),
    ],
)
def test_classes_that_do_not_fit_the_outputs_are_rejected(classes, kept, message):
    with pytest.raises(ValueError, match=message):
        member(toy.mlp("t"), ClassMap(kept, (0,)), classes=classes)
    if kept:  # A label may stand alone.
        member(toy.mlp("t", activation="sigmoid"), ClassMap(kept, (0,)), classes=classes)
