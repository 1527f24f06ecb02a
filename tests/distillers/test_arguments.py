"""Checks of the arguments of distillers."""

import pytest

import keras_kd as kd
from keras_kd.distillers.arguments import (
    check_arguments,
    check_numbers,
    reject_unknown_probabilities,
    unique_names,
)

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


def test_probabilities_of_an_unknown_activation_are_rejected():
    loss = kd.losses.OutputsMSE()
    assert reject_unknown_probabilities(loss, "head", ["softmax", None]) is None
    with pytest.raises(ValueError, match="OutputsMSE: the probabilities of the output 'head' may"):
        reject_unknown_probabilities(loss, "head", ["probabilities", None])


def test_losses_need_a_teacher_and_each_class_a_name():
    assert check_numbers(0, 0, None, 3) is None
    assert check_numbers(1, 1, ["a", "b"], 2) is None
    with pytest.raises(ValueError, match="at least one teacher"):
        check_numbers(0, 1, None, 3)
    with pytest.raises(ValueError, match="the student has 3 classes"):
        check_numbers(1, 1, ["a", "b"], 3)
