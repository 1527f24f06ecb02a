"""One pass of the teachers: its batches, and the values to store."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.cache.teacher_pass import TeacherPass, library_versions
from tests import toy

SPEC = tf.TensorSpec((None, 5), "float32")
X = np.random.default_rng(0).normal(size=(10, 5)).astype("float32")


def run(model, taps=(None,), dtype="float32", top_k=None, **kwargs):
    teacher_pass = TeacherPass([kd.Teacher(model, **kwargs)], taps, SPEC, dtype, top_k)
    return teacher_pass.stored[0], teacher_pass(tf.constant(X))


def test_logits_of_the_output_and_values_of_hidden_layers_are_stored(mlp):
    stored, values = run(mlp, [None, "hidden"], classes=[3, 1, 0, 2])
    assert (stored.name, stored.classes, stored.parameters) == (
        "teacher",
        (3, 1, 0, 2),
        mlp.count_params(),
    )
    hidden = keras.Model(mlp.inputs, mlp.get_layer("hidden").output)
    np.testing.assert_allclose(values["0.teacher.output.npy"], mlp(X), rtol=1e-6)
    np.testing.assert_allclose(values["0.teacher.hidden.npy"], hidden(X), rtol=1e-6)
    assert [(tap.name, tap.serves, tap.shape) for tap in stored.taps] == [
        (None, "either", (4,)),
        ("hidden", "values", (8,)),
    ]


def test_the_logits_of_a_softmax_are_stored(mlp):
    stored, values = run(toy.mlp("t", activation="softmax"))
    np.testing.assert_allclose(values["0.t.output.npy"], mlp(X), rtol=1e-5)
    (tap,) = stored.taps
    assert (tap.serves, tap.activation) == ("logits", "softmax")


def test_file_names_are_plain_and_unique():
    teachers = [kd.Teacher(toy.mlp("t"), name="a/b c") for _ in range(2)]
    stored = TeacherPass(teachers, [None], SPEC, "float16", None).stored
    assert [teacher.taps[0].file for teacher in stored] == [
        "0.a_b_c.output.npy",
        "1.a_b_c.output.npy",
    ]
    inputs = keras.Input((5,))
    outputs = {name: keras.layers.Dense(2, name=name)(inputs) for name in ("y_1", "y-1", "y.1")}
    model = keras.Model(inputs, outputs, name="t")
    stored, _ = run(model, ["y_1", "y.1", "y-1"])
    assert [tap.file for tap in stored.taps] == ["0.t.y_1.npy", "0.t.y_1.1.npy", "0.t.y-1.npy"]


def test_a_preprocessing_that_changes_the_number_of_samples_is_an_error():
    message = r"one row per sample at the output\. Received: 5 rows for 10 samples"
    with pytest.raises(ValueError, match=message):
        run(toy.mlp("t"), preprocessing=lambda x: x[::2])


def test_values_that_cannot_be_stored_are_errors():
    model = toy.mlp("teacher")
    model.get_layer("head").bias.assign([0.0, 0.0, 1e5, 0.0])
    with pytest.raises(ValueError, match="'teacher' returns 1.* at the output, too large for floa"):
        run(model, dtype="float16")
    assert run(model)[1]["0.teacher.output.npy"].max() > 9e4
    model.get_layer("head").bias.assign([0.0, 0.0, np.nan, 0.0])
    with pytest.raises(ValueError, match="'teacher' returned NaN or infinite values at the output"):
        run(model)


def test_a_tap_without_a_fixed_size_is_an_error():
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs), name="t")
    spec = tf.TensorSpec((None, None, 3))
    with pytest.raises(ValueError, match="whose size may differ between samples"):
        TeacherPass([kd.Teacher(model)], [None], spec, "float32", None)


def test_versions_are_recorded():
    assert library_versions()["tensorflow"] == tf.__version__
    assert library_versions()["keras_kd"] == kd.__version__
