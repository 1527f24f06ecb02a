"""What is known of outputs where scores are computed."""

import keras
import pytest

from keras_kd.models.output_evidence import compiled_losses, decide_output, declared_outputs
from keras_kd.models.task import Evidence


def decide(units, declared="auto", loss=None, head="unknown"):
    output = decide_output(Evidence("y", units, declared, loss, [head]))
    return output.task, output.probabilities


BINARY = keras.losses.BinaryCrossentropy


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ({"head": "softmax"}, ("classes", True)),
        ({"head": "sigmoid"}, ("labels", True)),
        ({"head": "values"}, ("values", False)),
        ({"head": "logits"}, (None, False)),
        ({}, (None, None)),
        ({"loss": "mse"}, ("values", None)),
        ({"loss": "categorical_crossentropy"}, ("classes", True)),
        ({"loss": BINARY(from_logits=True)}, ("labels", False)),
        ({"loss": BINARY(from_logits=True), "head": "sigmoid"}, ("labels", True)),
        ({"declared": "logits"}, (None, False)),
        ({"declared": "logits", "head": "values"}, (None, False)),
        ({"declared": "probabilities"}, (None, True)),
        ({"declared": "values", "head": "logits"}, ("values", False)),
        ({"declared": "labels", "head": "logits"}, ("labels", False)),
    ],
)
def test_the_task_and_the_kind_of_several_units(evidence, expected):
    assert decide(3, **evidence) == expected


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ({"head": "sigmoid"}, ("binary", True)),
        ({"head": "logits"}, (None, False)),
        ({"declared": "logits"}, ("binary", False)),
        ({"declared": "binary"}, ("binary", None)),
        ({"loss": BINARY(), "head": "unknown"}, ("binary", True)),
    ],
)
def test_the_task_and_the_kind_of_one_unit(evidence, expected):
    assert decide(1, **evidence) == expected


@pytest.mark.parametrize(
    ("units", "evidence", "message"),
    [
        (3, {"declared": "logits", "head": "softmax"}, "declared as 'logits', but.*softmax"),
        (
            3,
            {"declared": "probabilities", "head": "logits"},
            "'probabilities', but .* gives logits",
        ),
        (3, {"declared": "binary"}, "one unit can be declared as 'binary'.*'y' of 3"),
        (1, {"declared": "labels"}, "two units or more can be declared as 'labels'"),
        (3, {"loss": "categorical_crossentropy", "head": "sigmoid"}, "made by a sigmoid, but"),
    ],
)
def test_contradictions_are_refused(units, evidence, message):
    with pytest.raises(ValueError, match=message):
        decide(units, **evidence)


def test_declarations_are_for_all_outputs_or_by_name():
    unknown = {"a": "unknown", "b": "unknown"}
    assert declared_outputs("logits", unknown) == {"a": "logits", "b": "logits"}
    assert declared_outputs({"b": "values"}, unknown) == {"a": "auto", "b": "values"}
    visible = {"a": "softmax", "b": "unknown"}
    assert declared_outputs("logits", visible) == {"a": "auto", "b": "logits"}
    assert declared_outputs({"a": "logits"}, visible) == {"a": "logits", "b": "auto"}
    with pytest.raises(ValueError, match=r"of the outputs \['a', 'b'\]. Received: one of \['c'\]"):
        declared_outputs({"c": "values"}, unknown)
    with pytest.raises(ValueError, match="Expected `outputs` of .*Received: 'scores' for output"):
        declared_outputs("scores", unknown)


def test_compiled_losses_belong_to_outputs_by_name_by_order_or_to_all():
    x = keras.Input((2,))
    model = keras.Model(x, {"a b": keras.layers.Dense(1)(x), "c": keras.layers.Dense(1)(x)})
    names = ["a_b", "c"]
    assert compiled_losses(model, names) == {"a_b": None, "c": None}
    model.compile(loss={"a b": "mse"})
    renamed = compiled_losses(model, names, lambda name: name.replace(" ", "_"))
    assert renamed == {"a_b": "mse", "c": None}
    model.compile(loss=["mse", "mae"])
    assert compiled_losses(model, names) == {"a_b": "mse", "c": "mae"}
    model.compile(loss="mse")
    assert compiled_losses(model, names) == {"a_b": "mse", "c": "mse"}
