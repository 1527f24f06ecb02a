"""Which of the student's classes the outputs of a teacher are."""

import numpy as np
import pytest

from keras_kd.teachers.class_map import ClassMap, class_map
from keras_kd.teachers.teacher import Teacher
from tests import toy

NAMES = ["apple", "banana", "cat", "dog", "eel"]


@pytest.fixture(scope="module")
def model():
    return toy.mlp("t")


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (None, ClassMap()),
        (np.array([4, 0]), ClassMap(None, (4, 0))),
        (["cat", "apple"], ClassMap(None, (2, 0))),
        ([None, "dog", None, "banana"], ClassMap((1, 3), (3, 1))),
        ([3, 1, 0, 2, 4], ClassMap((2, 1, 3, 0, 4), None)),
        ([4, None, 3, 2, 1, 0, None], ClassMap((5, 4, 3, 2, 0), None)),
        ([0, 1, 2, 3, 4], ClassMap()),
        ([0, 1, 2, 3, 4, None], ClassMap((0, 1, 2, 3, 4), None)),
    ],
)
def test_classes_from_indices_names_and_none(classes, expected, model):
    assert class_map(Teacher(model, classes=classes), 5, NAMES) == expected


@pytest.mark.parametrize(
    ("classes", "names", "message"),
    [
        ([0, 1, 7], None, "indices from 0 to 4"),
        ([0, 1, -1], None, "None for a class of the teacher"),
        ([None, None], None, "None for a class of the teacher"),
        ([0, 1, 1], None, "must be unique"),
        ([0, 1.5], None, "must be integers or names, or None"),
        ([0, [1]], None, "must be integers or names, or None"),
        (["cat", "dog"], None, "pass `class_names`"),
        (["cta", "dog"], NAMES, r"Closest names: 'cat'.*Use None .*: classes=\[None, 'dog'\]"),
    ],
)
def test_invalid_classes(classes, names, message, model):
    with pytest.raises(ValueError, match=message):
        class_map(Teacher(model, classes=classes), 5, names)
