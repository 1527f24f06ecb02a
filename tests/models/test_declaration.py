"""What a user declares an output to be, and what is visible of it."""

import pytest

from keras_kd.models.declaration import (
    check_declaration,
    check_declared_names,
    declared_kind,
    resolve_kind,
)

VISIBLE = ("logits", "softmax", "sigmoid", "values", "unknown")


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("auto", ("logits", "softmax", "sigmoid", "values", "unknown")),
        ("logits", ("logits", None, None, "logits", "logits")),
        ("probabilities", (None, "softmax", "sigmoid", None, "probabilities")),
        ("values", ("values",) * 5),
    ],
)
def test_a_declaration_decides_only_what_is_not_visible(declared, expected):
    assert tuple(resolve_kind(declared, kind) for kind in VISIBLE) == expected


@pytest.mark.parametrize("outputs", ["logit", None, 2, ["logits"], {"a": "logit"}, {"a": None}])
def test_other_values_are_rejected(outputs):
    with pytest.raises(ValueError, match="'m' must be one of .*'values'.* Received: "):
        check_declaration(outputs, "'m'")


def test_an_output_that_is_declared_must_exist():
    check_declared_names({"b": "values"}, ["a", "b"], "m")
    check_declared_names("values", [], "m")
    with pytest.raises(ValueError, match=r"declares \['c'\], but 'm' has the outputs \['a', 'b'\]"):
        check_declared_names({"c": "values"}, ["a", "b"], "m")


def test_an_output_that_is_not_declared_is_detected():
    declared = {"a": "values"}
    assert [declared_kind(declared, name, ["a", "b"]) for name in "ab"] == ["values", "auto"]
    assert declared_kind(declared, None, ["a"]) == "values"
    assert declared_kind("logits", "b", ["a", "b"]) == "logits"
