"""Batches and teacher outputs with NaN or infinite values: found and named."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.training.finite_checks import batch_values, teacher_values
from keras_kd.training.labels import LabelReader
from keras_kd.training.tensorflow_step import finite_assertions
from tests import toy
from tests.distillers.bad_batches import MARK, assert_equal, batches, distiller, with_bad


@tf.function
def check(named):
    with tf.control_dependencies(finite_assertions(named)):
        return tf.constant(True)


def test_a_batch_is_named_by_its_parts_and_a_nan_label_is_no_bad_value():
    infinite, read = tf.constant([np.inf]), LabelReader("mse", {"out": (None, 1)}).read
    labels = read(tf.constant([np.nan, 1.0]))
    for message, values in batch_values(infinite, labels, infinite).items():
        if "labels" in message:
            check({message: values})
        else:
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                check({message: values})
    with pytest.raises(tf.errors.InvalidArgumentError, match="in its labels"):
        check(batch_values(None, read(infinite), None))


def test_teacher_outputs_are_named_by_the_teacher():
    values = teacher_values(["one", "two"], [[1.0], [2.0]])
    assert values == {
        "Teacher 'one' gave NaN or infinite values.": [1.0],
        "Teacher 'two' gave NaN or infinite values.": [2.0],
    }
    assert teacher_values(["one"], ()) == {}


@pytest.fixture(scope="module")
def after_two_batches():
    model = distiller()
    model.fit(batches().take(2), verbose=0)
    return model.get_weights()


BAD = {
    "inputs": ("x", np.nan, "The batch has NaN or infinite values in its inputs"),
    "weights": ("weights", np.inf, "The batch has NaN or infinite values in its sample weights"),
    "teacher": ("x", MARK, "Teacher 'teacher' gave NaN or infinite values"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BAD)
def test_a_bad_batch_is_named_and_the_student_keeps_its_weights(what, after_two_batches):
    part, value, sentence = BAD[what]
    model = distiller()
    with pytest.raises(ValueError, match=rf"^{sentence}\. This was in batch 3 of epoch 1\.$"):
        model.fit(batches(*with_bad(part, value)), epochs=2, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    if what != "teacher":  # Teacher outputs are checked only after the student's forward pass.
        assert_equal(model.get_weights(), after_two_batches)


def test_a_teacher_class_names_the_bad_batch():
    students = [toy.mlp(f"student_{i}", classes=4) for i in range(2)]
    model = kd.TeacherClass(toy.mlp("teacher"), "hidden", students)
    model.compile("adam", run_eagerly=True)
    with pytest.raises(ValueError, match=r"in its inputs\. This was in batch 3 of epoch 1\.$"):
        model.fit(batches(*with_bad("x", np.nan)), verbose=0)
