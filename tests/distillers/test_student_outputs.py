"""Names of the outputs of several students in one model, and values by them."""

import pytest

from keras_kd.distillers.student_outputs import StudentOutputs

ONE = StudentOutputs({"a": ["head"], "b": ["other"]})
TWO = StudentOutputs({"a": ["p", "q"], "b": ["q", "p"]})


def test_an_only_output_has_the_name_of_its_student():
    assert ONE.names == ["a", "b"]
    assert ONE.find("b") == ("b", "other")
    for values in (1, {"a": 1, "b": 2}, {"c": 1}, None):
        assert ONE.for_each(values) is values
    assert ONE.of_student("b", {"a": 1, "b": 2}) == 2
    assert ONE.of_student("b", {"a": 1}) is ONE.of_student("b", None) is None
    assert ONE.of_student("b", 3) == 3


def test_several_outputs_have_the_name_of_student_and_output():
    assert TWO.names == ["a_p", "a_q", "b_q", "b_p"]
    assert TWO.find("b_q") == ("b", "q")
    each = {"a_p": 1, "a_q": 2, "b_q": 2, "b_p": 1}
    assert TWO.for_each({"p": 1, "q": 2}) == TWO.for_each([1, 2]) == TWO.for_each(each) == each
    assert TWO.for_each({"p": 1}, str) == {"a_p": "1", "b_p": "1"}
    assert TWO.for_each("mse") == "mse"
    assert TWO.of_student("b", each) == {"q": 2, "p": 1}
    with pytest.raises(ValueError, match=r"the keys \['p', 'q'\].*Received: the keys \['r'\]"):
        TWO.for_each({"r": 1})


def test_students_need_the_same_outputs_and_unique_names():
    with pytest.raises(ValueError, match="must have the same outputs, or one output each"):
        StudentOutputs({"a": ["p", "q"], "b": ["p"]})
    with pytest.raises(ValueError, match=r"must be unique. Received: \['a_b_c'"):
        StudentOutputs(
            {"a": ["b_c", "d"], "a_b": ["c", "d"]} | {"a": ["b_c", "c"], "a_b": ["c", "b_c"]}
        )
