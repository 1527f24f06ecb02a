"""Layer plans print as a table and reject what cannot be carried out."""

import pytest

from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, check_skip

PLANS = LayerPlans(
    [
        LayerPlan("conv", "Conv2D", "pruned", "kernel"),
        LayerPlan("act", "ReLU", "left", "no weights"),
    ]
)


def test_plans_print_as_a_table():
    assert str(PLANS).splitlines() == [
        "layer  class   action  details",
        "---------------------------------",
        "conv   Conv2D  pruned  kernel",
        "act    ReLU    left    no weights",
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


def test_unknown_names_in_skip_are_rejected():
    check_skip(["a"], ["a", "b"])
    with pytest.raises(ValueError, match=r"must name layers of the student: \['a'\].*\['b', 'c'\]"):
        check_skip(["c", "a", "b"], ["a"])
