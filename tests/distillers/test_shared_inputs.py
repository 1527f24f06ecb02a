"""Models that cannot share a batch, and batches that lack an input, are rejected."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.distillers.shared_inputs import (
    check_batch,
    check_inputs,
    find_other_inputs,
    inputs_agree,
    list_inputs,
)
from keras_kd.models.inputs import model_inputs
from tests import toy
from tests.distillers.models import distiller

SPEC = tf.TensorSpec((None, 5))


def agree(one, other):
    return inputs_agree(model_inputs(one), model_inputs(other))


def test_models_agree_where_they_share_a_key():
    image, both = toy.named("a"), toy.named("b", ("audio", "image"))
    assert agree(image, both)
    assert agree(image, toy.named("c", ("audio",)))
    assert not agree(toy.named("d", inputs=3), both)


def test_inputs_that_are_not_matched_by_key_are_compared_in_order():
    assert agree(toy.mlp("a"), toy.mlp("b"))
    assert not agree(toy.mlp("a"), toy.mlp("b", inputs=3))
    assert not agree(toy.named("a", ("audio", "image")), toy.mlp("b"))
    assert inputs_agree(None, model_inputs(toy.mlp("a")))


def test_a_teacher_that_takes_other_inputs_is_rejected_with_both():
    student = toy.named("student", ("audio", "image"))
    teacher = kd.Teacher(toy.named("teacher", ("image",), inputs=3))
    sentence = (
        r"Teacher 'teacher' takes inputs of shape \{'image': \(None, 3\)\} and the student "
        r"'student' \{'audio': .*'image': \(None, 5\)\}.*pass dict batches"
    )
    with pytest.raises(ValueError, match=sentence):
        check_inputs(teacher, student)
    teacher.preprocessing = lambda x: x
    assert check_inputs(teacher, student) is None


def test_any_two_students_are_compared():
    students = [toy.named("a", ("audio",)), toy.named("b"), toy.named("c", inputs=3)]
    found = find_other_inputs(students, [4, 5, 6])
    assert found.startswith("student 5 'b' takes {'image': (None, 5)} and student 6 'c' {")
    assert find_other_inputs(students[:2]) is None


@pytest.mark.parametrize(
    ("model", "x", "sentence"),
    [
        (
            toy.named("m", ("image", "depth")),
            {"image": SPEC},
            r"The model takes .* needs \['depth'\]",
        ),
        (toy.named("m"), {"image": tf.TensorSpec((None, 3))}, r"inputs of shape \(None, 5\)"),
        (toy.mlp("m"), {"image": SPEC}, "has inputs without names"),
        (toy.mlp("m"), [SPEC, SPEC], "takes 1 inputs.* `x` of 2 arrays"),
        (toy.named("m", ("image", "depth")), SPEC, "takes 2 inputs, .*depth.* `x` of 1 arrays"),
    ],
)
def test_a_batch_that_a_model_does_not_accept_is_rejected(model, x, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_batch("The model", model_inputs(model), x)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (toy.named("m"), {"image": SPEC, "audio": tf.TensorSpec((None, 3))}),
        (toy.named("m"), SPEC),
        (toy.named("m", ("image", "depth"), form=list), [SPEC, SPEC]),
        (toy.named("m", inputs=1), {"image": tf.TensorSpec((None,))}),
    ],
)
def test_a_batch_that_holds_the_inputs_is_accepted(model, x):
    assert check_batch("The model", model_inputs(model), x) is None


def test_unknown_inputs_are_not_checked():
    assert check_batch("The model", None, {"other": SPEC}) is None


def test_the_models_that_get_the_batch_itself():
    plain = kd.Teacher(toy.mlp("plain", seed=1), name="plain")
    own = kd.Teacher(toy.mlp("own", seed=2), preprocessing=lambda x: x)
    model = distiller(teacher=[plain, own])
    assert [owner for owner, _ in list_inputs(model, joined=False)] == [
        "The student 'student'",
        "Teacher 'plain'",
    ]
    assert [owner for owner, _ in list_inputs(model, joined=True)] == ["The student 'student'"]
    noise = [layers.GaussianNoise(0.1)]
    for same_view, owners in ((False, ["Teacher 'plain'"]), (True, [])):
        model = distiller(teacher=[plain, own], augment=noise, same_view=same_view)
        assert [owner for owner, _ in list_inputs(model, joined=False)] == owners


def test_fit_names_the_model_and_the_missing_key_before_training():
    x, y = toy.pairs()
    student = toy.named("student")
    model = distiller(student, toy.named("teacher", ("audio", "image")))
    before = [np.array(weight) for weight in student.weights]
    with pytest.raises(ValueError, match=r"Teacher 'teacher' takes .* needs \['audio'\]"):
        model.fit({"image": x["image"]}, y, verbose=0)
    with pytest.raises(ValueError, match=r"The student 'student' takes .* needs \['image'\]"):
        model.fit(tf.data.Dataset.from_tensor_slices(({"audio": x["audio"]}, y)).batch(8))
    for one, other in zip(before, student.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_text_is_rejected_where_a_model_takes_numbers():
    text = tf.TensorSpec((None,), tf.string)
    inputs = model_inputs(toy.named("student", ("audio", "image")))
    message = r"student takes numbers, \{'audio'.*`x` of text.*dataset.map\(task.preprocessor\)"
    with pytest.raises(ValueError, match=message):
        check_batch("The student", inputs, text)
    check_batch("The student", inputs, {"audio": SPEC, "image": SPEC, "title": text})
    x = layers.Input((1,), dtype="string")
    lookup = layers.StringLookup(vocabulary=["a", "b"])(x)
    model = keras.Model(x, layers.Embedding(4, 2)(lookup))
    check_batch("The student", model_inputs(model), tf.TensorSpec((None, 1), tf.string))
