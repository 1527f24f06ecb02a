"""The roles of the models are declared, or follow from their names."""

import pytest

from keras_kd.report.roles import find_roles


@pytest.mark.parametrize(
    ("names", "declared", "roles"),
    [
        (["a", "b"], (None, None), ("a", "b")),
        (["small", "teacher"], (None, None), ("teacher", "small")),
        (["student", "int8", "teacher"], (None, None), ("teacher", "student")),
        (["student.h5", "int8", "teacher.h5"], (None, None), ("teacher.h5", "student.h5")),
        (["teacher", "student", "int8"], (None, "int8"), ("teacher", "int8")),
        (["a", "b", "student"], ("b", None), ("b", "student")),
        (["teacher", "b"], (None, "teacher"), ("b", "teacher")),
    ],
)
def test_roles_are_declared_or_follow_from_the_names(names, declared, roles):
    assert find_roles(names, *declared) == roles


@pytest.mark.parametrize(
    ("names", "declared", "message"),
    [
        (["a"], (None, None), "at least two models"),
        (["a", "b"], ("x", None), "Expected teacher=... to be one of"),
        (["a", "b"], (None, "x"), "Expected student=... to be one of"),
        (["a", "b"], ("a", "a"), "Received: 'a' for both"),
        (["teacher", "a", "b"], (None, None), "Expected student=.*the teacher 'teacher'"),
        (["teacher", "student.keras", "student.tflite"], (None, None), "Expected student="),
    ],
)
def test_unknown_and_ambiguous_roles_are_rejected(names, declared, message):
    with pytest.raises(ValueError, match=message):
        find_roles(names, *declared)
