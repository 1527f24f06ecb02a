"""A teacher leaves the user's model unchanged, and reports what it cannot do."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd as kd
from keras_kd.models.taps import Tap
from keras_kd.teachers.teacher import Teacher, as_teachers, replicate_teacher
from keras_kd.training import backend
from tests import toy

X, Y = toy.data()


@pytest.fixture(scope="module")
def model():
    return toy.cnn("teacher", seed=1)


def test_preprocessing_is_for_this_teacher_only(model):
    doubled = kd.Teacher(model, preprocessing=lambda x: 2 * x)
    conv = keras.Model(model.inputs[0], model.get_layer("conv").output)
    values = doubled.watch([Tap("conv")])(X)[Tap("conv")]
    np.testing.assert_allclose(values, conv(2 * X), rtol=1e-6)
    student = toy.cnn("student")
    expected = np.mean(kd.losses.SoftTargets()(model(2 * X), student(X, training=True)))
    student.set_weights(toy.cnn("student").get_weights())
    distiller = kd.Distiller(student, doubled, "soft_targets")
    distiller.compile("sgd", toy.sparse_loss())  # Compiled: it runs inside the step.
    logs = distiller.fit(X, Y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-5)


def test_preprocessing_allows_other_inputs_than_the_student():
    teacher = kd.Teacher(
        toy.mlp("teacher", inputs=36), preprocessing=lambda x: ops.reshape(x, (-1, 36))
    )
    model = kd.Distiller(toy.cnn("student"), teacher)
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    assert model.fit(X, Y, verbose=0).history["soft_targets"][0] > 0


def test_the_trainable_flags_of_the_model_stay_unchanged():
    model = toy.cnn("teacher")
    model.get_layer("conv").trainable = False
    kd.Distiller(toy.cnn("student"), model)
    assert model.trainable
    assert [layer.name for layer in model.layers if not layer.trainable] == ["conv"]


def test_only_keras_models_are_teachers(model):
    with pytest.raises(TypeError, match="must be a keras.Model"):
        kd.Teacher("teacher.keras")
    teacher = kd.Teacher(model)
    assert as_teachers(teacher) == [teacher]
    assert [t.model for t in as_teachers([model, teacher])] == [model, model]


def test_a_teacher_in_half_precision_is_a_copy(model):
    teacher = kd.Teacher(model, dtype="bfloat16")
    assert teacher.model is not model
    assert model.get_layer("conv").dtype_policy.name == "float32"
    logits = teacher.watch([Tap(None, logits=True)])(X)[Tap(None, logits=True)]
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, model(X), atol=0.05)


def test_description_of_a_teacher(model):
    teacher = kd.Teacher(model, name="t")
    assert (teacher.name, kd.Teacher(model).name) == ("t", "teacher")
    assert teacher.parameters == model.count_params()
    assert teacher.inputs.shapes == [(None, 6, 6, 1)]
    assert teacher.output_names == ["logits"]


def test_one_replica_needs_no_copy(model):
    teacher = Teacher(model)
    assert replicate_teacher(teacher) is teacher


NAMES = ["apple", "banana", "cat", "dog", "eel"]


def test_a_distiller_accepts_class_names(model):
    teacher = kd.Teacher(toy.cnn("t", classes=2), classes=["cat", "apple"])
    distiller = kd.Distiller(toy.cnn("s", classes=5), teacher, class_names=NAMES)
    by_index = kd.Teacher(teacher.model, classes=[2, 0])
    logs = []
    for each in (distiller, kd.Distiller(toy.cnn("s", classes=5), by_index)):
        each.compile("sgd", loss=None, run_eagerly=True)
        logs.append(each.fit(X, batch_size=32, verbose=0).history)
    assert logs[0] == logs[1]


def test_a_file_runs_on_the_tensorflow_backend_only(monkeypatch):
    monkeypatch.setattr(backend, "BACKEND", "jax")
    with pytest.raises(ValueError, match=r"needs the TensorFlow backend.*path='teacher\.tflite'"):
        kd.Teacher.from_tflite("teacher.tflite")
