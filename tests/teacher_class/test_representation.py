"""What the students mimic where the teacher's activation is a layer of its own."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd


def teacher_with(activation):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    x = layers.BatchNormalization()(layers.Dense(8, name="before")(inputs))
    return keras.Model(inputs, layers.Dense(3)(activation(x)), name="teacher")


def linear(size):
    return keras.Sequential([keras.Input((6,)), layers.Dense(size, use_bias=False)])


def samples():
    return np.random.default_rng(0).normal(size=(16, 6)).astype("float32")


RELU = layers.ReLU(max_value=1.5, name="features")
LEAKY = layers.LeakyReLU(negative_slope=0.2, name="features")
ELU = layers.ELU(name="features")


@pytest.mark.parametrize("layer", [RELU, LEAKY, ELU], ids=["relu", "leaky", "elu"])
def test_before_an_activation_layer_is_what_it_is_given(layer):
    teacher, x = teacher_with(type(layer).from_config(layer.get_config())), samples()
    model = kd.TeacherClass(teacher, "features", linear, n=2, mimic="preactivation")
    model.compile("sgd")
    given = keras.Model(teacher.inputs, teacher.get_layer("features").input)(x).numpy()
    teacher_outputs = model.predict(x, verbose=0)
    expected = [
        np.mean((given[:, i : i + 4] - s) ** 2)
        for i, s in zip((0, 4), teacher_outputs, strict=True)
    ]
    found = model.evaluate(x, verbose=0, return_dict=True)
    np.testing.assert_allclose([found["student_0"], found["student_1"]], expected, rtol=1e-5)
    activated = layer(np.concatenate(teacher_outputs, axis=-1))
    np.testing.assert_allclose(model.assemble(head=None)(x), activated, rtol=1e-5, atol=1e-6)


def test_a_relu_layer_cuts_off_what_students_say_and_a_leaky_one_is_left_away(tmp_path):
    x = samples()
    for layer, applied in ((RELU, RELU), (LEAKY, lambda teacher_outputs: teacher_outputs)):
        teacher = teacher_with(type(layer).from_config(layer.get_config()))
        model = kd.TeacherClass(teacher, "features", linear, n=2)
        teacher_outputs = np.concatenate(model.predict(x, verbose=0), axis=-1)
        assembled = model.assemble(head=None)
        np.testing.assert_allclose(assembled(x), applied(teacher_outputs), rtol=1e-5, atol=1e-6)
        assembled.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again(x), assembled(x))
