import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from tests import toy


def _train(student, teacher, tap, x, y, epochs=40):
    model = kd.Distiller(
        student, teacher, kd.losses.Hint(tap, "teacher_features"), student_loss_weight=0.0
    )
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy")
    return model.fit(x, y, batch_size=32, epochs=epochs, verbose=0).history


@pytest.mark.parametrize("tap", ["relu", "pool", "features"])
def test_a_student_that_learns_the_features_answers_as_the_teacher(tap):
    teacher = toy.cnn("teacher", filters=8, activation="softmax", seed=1)
    before = [weight.numpy() for weight in teacher.weights]
    student = kd.with_teacher_head(toy.cnn("student"), teacher, tap, tap)
    x, y = toy.data(64)
    history = _train(student, teacher, tap, x, y)
    assert history["hint"][-1] < 0.3 * history["hint"][0]
    head = student.get_layer("teacher_head")
    assert not head.trainable_weights
    after = before[-len(head.weights) :]
    for weight, own in zip(head.weights, after, strict=True):
        np.testing.assert_array_equal(weight.numpy(), own)
    for weight, old in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
    assert teacher.trainable


def test_the_product_is_saved_without_the_teacher(tmp_path):
    teacher = toy.cnn("teacher", filters=64, activation="softmax", seed=1)
    student = kd.with_teacher_head(toy.cnn("student"), teacher, "features", "features")
    assert student.name == "student_with_teacher_head"
    student.save(tmp_path / "student.keras")
    again = keras.saving.load_model(tmp_path / "student.keras")
    x = toy.data(4)[0]
    np.testing.assert_allclose(again.predict(x, verbose=0), student.predict(x, verbose=0))


def test_a_larger_map_of_the_student_is_averaged_and_a_smaller_one_resized():
    teacher = toy.cnn("teacher", filters=8)
    inputs = keras.Input((8, 8, 1))
    for strides in (1, 4):
        body = keras.Model(inputs, layers.Conv2D(3, 1, strides=strides, name="map")(inputs))
        student = kd.with_teacher_head(body, teacher, "map", "relu")
        assert student.get_layer("teacher_features").output.shape == (None, 4, 4, 8)
        assert student.output_shape == (None, 4)


def test_a_tap_that_is_not_all_the_output_depends_on_is_refused():
    inputs = keras.Input((6, 6, 1))
    one, two = layers.Conv2D(2, 1, name="one")(inputs), layers.Conv2D(2, 1, name="two")(inputs)
    pooled = layers.GlobalAveragePooling2D()(layers.Add()([one, two]))
    teacher = keras.Model(inputs, layers.Dense(4)(pooled), name="teacher")
    with pytest.raises(ValueError, match="'teacher' depends on more than its tap 'one'"):
        kd.with_teacher_head(toy.cnn("student"), teacher, "conv", "one")


def test_taps_that_do_not_exist_or_fit_are_refused():
    teacher, student = toy.cnn("teacher"), toy.cnn("student")
    with pytest.raises(ValueError, match="'teacher' has no layer or output 'feature'"):
        kd.with_teacher_head(student, teacher, "features", "feature")
    with pytest.raises(ValueError, match="maps .* to the same rank"):
        kd.with_teacher_head(student, teacher, "features", "relu")
