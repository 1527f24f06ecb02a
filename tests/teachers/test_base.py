"""Arguments that all teachers share."""

import numpy as np
import pytest

import keras_kd as kd
from keras_kd.teachers.base import BaseTeacher
from tests import toy


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"preprocessing": 2}, TypeError, "`preprocessing` must be a callable"),
        ({"outputs": "softmax"}, ValueError, "`outputs` must be one of"),
        ({"outputs": {"output": "odds"}}, ValueError, "`outputs` must be one of"),
        ({"classes": "cat"}, TypeError, "`classes` must be a list"),
    ],
)
def test_invalid_arguments(kwargs, error, message):
    with pytest.raises(error, match=f"Teacher 't': {message}"):
        kd.Teacher(toy.mlp("t"), **kwargs)


def test_a_subclass_must_define_how_it_runs():
    with pytest.raises(TypeError, match="abstract"):
        BaseTeacher("t", None, "auto", None)


def test_outputs_are_declared_for_all_or_for_each():
    declared = {"logits": "values"}
    teacher = kd.Teacher(toy.mlp("t"), outputs=declared)
    declared.clear()
    assert teacher.outputs == {"logits": "values"}
    assert kd.Teacher(toy.mlp("t"), outputs="values").outputs == "values"


def test_a_dict_batch_must_have_what_the_teacher_takes():
    x = {"image": 1, "audio": 2}
    teacher = kd.Teacher(toy.named("t", ("image", "depth")))
    assert teacher.input_count == 2
    with pytest.raises(ValueError, match=r"Teacher 't' takes .* needs \['depth'\]"):
        teacher.check_batch(x)
    teacher.preprocessing = lambda x: x
    assert teacher.check_batch(x) is None
    assert kd.Teacher(toy.named("t")).check_batch(x) is None


def test_a_preprocessing_that_fails_on_a_dict_batch_is_named():
    x = {"a": np.ones((2, 5)), "b": np.zeros((2, 5))}
    for wrong in (lambda x: x + 1, lambda x: x["c"], lambda x: x.shape):
        teacher = kd.Teacher(toy.mlp("teacher"), preprocessing=wrong)
        with pytest.raises(ValueError, match=r"'teacher': its `preprocessing` .*\['a', 'b'\]"):
            teacher.preprocess(x)
    with pytest.raises(TypeError, match="can only concatenate"):
        kd.Teacher(toy.mlp("t"), preprocessing=lambda x: x + 1).preprocess("text")
    assert kd.Teacher(toy.mlp("t")).preprocess(x) is x
