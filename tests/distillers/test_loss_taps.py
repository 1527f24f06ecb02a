"""The taps of a distillation loss, and values at them."""

import keras
import numpy as np
from keras import layers

import keras_kd as kd
from keras_kd.distillers.loss_taps import as_shapes, at_taps, labels_at, student_tap, teacher_tap
from keras_kd.models.taps import Tap, TappedModel
from tests import toy


def test_a_loss_on_logits_has_taps_of_logits():
    loss = kd.losses.SoftTargets(teacher_tap="t", student_tap="s")
    assert (teacher_tap(loss), student_tap(loss)) == (Tap("t", True), Tap("s", True))
    assert student_tap(kd.losses.OutputsMSE()) == Tap(None, True)


def test_a_loss_of_several_pairs_has_lists_of_taps():
    loss = kd.losses.Hint(taps=[("a", "c"), ("b", "d")])
    assert (teacher_tap(loss), student_tap(loss)) == ([Tap("a"), Tap("b")], [Tap("c"), Tap("d")])


def test_values_at_one_tap_or_at_each():
    values = {Tap("a"): 1, Tap("b"): 2}
    assert at_taps(Tap("b"), values) == 2
    assert at_taps([Tap("b"), Tap("a")], values) == [2, 1]


def test_shapes_survive_json():
    assert as_shapes([None, 3]) == (None, 3)
    assert as_shapes([[None, 3], [None, 2, 1]]) == [(None, 3), (None, 2, 1)]


def test_a_tap_has_the_labels_of_its_output_and_of_the_only_one():
    one, y = TappedModel(toy.mlp("student"), []), np.arange(3)
    for labels in (y, {"head": y}):
        assert labels_at(one, None, labels) is labels_at(one, "hidden", labels) is y
    inputs = keras.Input((5,))
    heads = {name: layers.Dense(2, name=name)(inputs) for name in ("p", "q")}
    two = TappedModel(keras.Model(inputs, heads), [])
    assert labels_at(two, "q", {"p": 1, "q": y}) is y
    assert labels_at(two, "hidden", {"p": 1, "q": y}) is None
