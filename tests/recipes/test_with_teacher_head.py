import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from tests import toy


@pytest.mark.parametrize("tap", ["relu", "pool", "features"])
def test_the_head_maps_the_teachers_features_to_the_teachers_outputs(tap):
    teacher, (x, _) = toy.cnn("teacher", filters=8, activation="softmax", seed=1), toy.data(8)
    student = kd.with_teacher_head(toy.cnn("student"), teacher, tap, tap)
    features = keras.Model(teacher.input, teacher.get_layer(tap).output)(x)
    head = student.get_layer("teacher_head")
    np.testing.assert_allclose(head(features), teacher(x), rtol=1e-6)
    assert student.get_layer("teacher_features").output.shape[1:] == features.shape[1:]
    assert not head.trainable_weights
    assert teacher.trainable


@pytest.mark.slow
@pytest.mark.traced
def test_training_changes_the_projector_but_not_the_teachers_head():
    teacher = toy.cnn("teacher", filters=8, activation="softmax", seed=1)
    student = kd.with_teacher_head(toy.cnn("student"), teacher, "relu", "relu")
    head = student.get_layer("teacher_head")
    before = teacher.get_weights(), head.get_weights()
    loss = kd.losses.Hint("relu", "teacher_features")
    model = kd.Distiller(student, teacher, loss, student_loss_weight=0.0)
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy")
    logs = model.fit(*toy.data(32), batch_size=32, epochs=40, verbose=0).history
    assert logs["hint"][-1] < 0.5 * logs["hint"][0]
    for weights, unchanged in zip(before, (teacher, head), strict=True):
        for one, other in zip(weights, unchanged.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_student_is_saved_without_the_teacher(tmp_path):
    teacher = toy.cnn("teacher", filters=64, activation="softmax", seed=1)
    student = kd.with_teacher_head(toy.cnn("student"), teacher, "features", "features")
    assert student.name == "student_with_teacher_head"
    student.save(tmp_path / "student.keras")
    again = keras.saving.load_model(tmp_path / "student.keras")
    x = toy.data(4)[0]
    np.testing.assert_allclose(again.predict(x, verbose=0), student.predict(x, verbose=0))


def test_maps_of_other_sizes_are_resized_to_the_teachers():
    teacher = toy.cnn("teacher", filters=8)
    inputs = keras.Input((8, 8, 1))
    for strides in (1, 4):
        body = keras.Model(inputs, layers.Conv2D(3, 1, strides=strides, name="map")(inputs))
        student = kd.with_teacher_head(body, teacher, "map", "relu")
        assert student.get_layer("teacher_features").output.shape == (None, 4, 4, 8)
        assert student.output_shape == (None, 4)


def test_a_tap_that_a_second_path_bypasses_is_rejected():
    inputs = keras.Input((6, 6, 1))
    one, two = layers.Conv2D(2, 1, name="one")(inputs), layers.Conv2D(2, 1, name="two")(inputs)
    pooled = layers.GlobalAveragePooling2D()(layers.Add()([one, two]))
    teacher = keras.Model(inputs, layers.Dense(4)(pooled), name="teacher")
    with pytest.raises(ValueError, match="'teacher' depends on more than its tap 'one'"):
        kd.with_teacher_head(toy.cnn("student"), teacher, "conv", "one")


def test_unknown_and_incompatible_taps_are_rejected():
    teacher, student = toy.cnn("teacher"), toy.cnn("student")
    with pytest.raises(ValueError, match="'teacher' has no layer or output 'feature'"):
        kd.with_teacher_head(student, teacher, "features", "feature")
    with pytest.raises(ValueError, match="maps .* to the same rank"):
        kd.with_teacher_head(student, teacher, "features", "relu")
