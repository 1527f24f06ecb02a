"""Layer plans print as a table and reject what cannot be carried out."""

import pytest

from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, resolve_skip
from tests import toy

PLANS = LayerPlans(
    [
        LayerPlan("conv", "Conv2D", "pruned", "kernel"),
        LayerPlan("act", "ReLU", "kept", "no weights"),
    ]
)


def test_plans_print_as_a_table():
    assert str(PLANS).splitlines() == [
        "layer  class   action  details",
        "---------------------------------",
        "conv   Conv2D  pruned  kernel",
        "act    ReLU    kept    no weights",
    ]


def test_layers_are_found_by_action():
    assert PLANS.named("pruned") == ["conv"]
    assert PLANS.named("clustered") == []


@pytest.mark.parametrize(("verbose", "printed"), [(0, ""), ("auto", f"{PLANS}\n")])
def test_plans_are_printed_unless_verbose_is_zero(capsys, verbose, printed):
    PLANS.announce("pruned", "student", verbose)
    assert capsys.readouterr().out == printed


def test_plans_without_the_action_are_rejected():
    with pytest.raises(ValueError, match="'student' has no layer that can be clustered. Its layer"):
        PLANS.require("clustered", "student")


def test_a_refused_layer_is_rejected_with_its_reason():
    plans = LayerPlans([*PLANS, LayerPlan("lstm", "LSTM", "refused", "has a loop")])
    with pytest.raises(ValueError, match=r"cannot be pruned: 'lstm' \(LSTM\): has a loop"):
        plans.announce("pruned", "student", 0)


def test_layers_to_skip_are_names_or_layers():
    student = toy.mlp("student")
    layers = ["hidden", "head"]
    assert resolve_skip("head", student, layers) == ["head"]
    assert resolve_skip(["head", student.get_layer("hidden")], student, layers) == [
        "head",
        "hidden",
    ]
    assert resolve_skip((), student, layers) == []
    with pytest.raises(ValueError, match=r"layers of the student: .*Received: \['b', 'c'\]"):
        resolve_skip(["c", "head", "b"], student, layers)
    with pytest.raises(TypeError, match="Compression: `skip` must be the name of a layer"):
        resolve_skip([0], student, layers)
