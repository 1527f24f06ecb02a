"""Checks of the arguments of distillers."""

import pytest

import keras_kd as kd
from keras_kd.distillers.arguments import check_arguments, unique_names

VALID = {
    "weighting": kd.weighting.Entropy(),
    "noise": kd.noise.LogitNoise(0.5),
    "class_names": ["a", "b"],
    "student_outputs": {"a": "values"},
}


def test_valid_arguments_are_accepted():
    check_arguments(**VALID)
    check_arguments(None, None, None, "auto")


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        ({"weighting": "entropy"}, TypeError, "`weighting` must be one of kd.weighting"),
        ({"noise": 0.5}, TypeError, "`noise` must be a kd.noise.LogitNoise"),
        ({"class_names": "ab"}, TypeError, "`class_names` must be a list of names"),
        ({"class_names": ["a", 1]}, TypeError, "`class_names` must be a list of names"),
        ({"class_names": ["a", "a"]}, ValueError, "`class_names` must be unique"),
        ({"student_outputs": "logit"}, ValueError, "`student_outputs` must be one of"),
    ],
)
def test_invalid_arguments_are_named(argument, error, message):
    with pytest.raises(error, match=message):
        check_arguments(**{**VALID, **argument})


def test_repeated_names_are_numbered():
    assert unique_names(["a", "b", "a", "a_2", "a"]) == ["a", "b", "a_2", "a_2_2", "a_3"]


@pytest.mark.parametrize("name", ["loss", "student_loss", "noise"])
def test_names_of_other_entries_of_the_history_are_rejected(name):
    with pytest.raises(ValueError, match=f"must not be called '{name}'"):
        unique_names(["a", name])
