"""A teacher leaves the user's model as it was, and says what it cannot do."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd as kd
from keras_kd.models.taps import Tap
from tests import toy


def test_preprocessing_is_for_this_teacher_alone():
    x, y = toy.data()
    teacher = toy.cnn("teacher", seed=1)
    doubled = kd.Teacher(teacher, preprocessing=lambda x: 2 * x)
    seen = doubled.watch([Tap("conv")])(x)
    conv = keras.Model(teacher.inputs[0], teacher.get_layer("conv").output)
    np.testing.assert_allclose(seen[Tap("conv")], conv(2 * x), rtol=1e-6)
    student = toy.cnn("student")
    model = kd.Distiller(student, doubled)
    model.compile("sgd", toy.sparse_loss())
    expected = np.mean(kd.losses.SoftTargets()(teacher(2 * x), student(x, training=True)))
    student.set_weights(toy.cnn("student").get_weights())
    got = model.fit(x, y, batch_size=32, verbose=0).history["soft_targets"][0]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_preprocessing_lets_teacher_and_student_have_other_inputs():
    x, y = toy.data()
    teacher = kd.Teacher(
        toy.mlp("teacher", inputs=36), preprocessing=lambda x: ops.reshape(x, (-1, 36))
    )
    model = kd.Distiller(toy.cnn("student"), teacher)
    model.compile("sgd", toy.sparse_loss())
    assert model.fit(x, y, verbose=0).history["soft_targets"][0] > 0


def test_the_trainable_flag_of_the_user_is_left_alone():
    model = toy.cnn("teacher")
    model.get_layer("conv").trainable = False
    kd.Distiller(toy.cnn("student"), model)
    assert model.trainable
    assert [layer.name for layer in model.layers if not layer.trainable] == ["conv"]


def test_what_is_no_teacher_is_refused():
    with pytest.raises(TypeError, match="must be a keras.Model"):
        kd.Teacher("teacher.keras")
    with pytest.raises(TypeError, match="`preprocessing` must be a callable"):
        kd.Teacher(toy.cnn("t"), preprocessing=2)
    with pytest.raises(ValueError, match="`outputs` must be one of"):
        kd.Teacher(toy.cnn("t"), outputs="softmax")
