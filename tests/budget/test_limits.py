"""The limits of a file."""

import pytest

from keras_kd.budget.limits import Limits

COSTS = {"size": 1000, "latency_us": 30.0, "macs": None}


def test_the_excess_is_the_largest_cost_as_a_multiple_of_its_limit():
    assert Limits(max_bytes=2000).excess(COSTS) == 0.5
    assert Limits(max_bytes=2000, max_latency_us=10).excess(COSTS) == 3
    assert Limits(max_macs=10).excess(COSTS) == 0  # Unknown.
    assert Limits(max_drop=1).excess(COSTS) == 0


def test_a_drop_is_no_cost():
    assert not Limits(max_drop=1).has_cost
    assert Limits(max_macs=10).has_cost
    assert Limits(max_drop=0).drop == 0
    assert Limits(max_macs=10).drop == 1


def test_limits_read_as_text():
    limits = Limits(60_000, 5_000, 1_000_000, 1)
    assert str(limits) == "60.0 kB, 5000 µs, 1,000,000 MACs, a drop of 1 points"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "Pass at least one limit"),
        ({"max_bytes": 0}, "`max_bytes` must be a positive number. Received: max_bytes=0"),
        ({"max_bytes": "60kB"}, "`max_bytes` must be a positive number"),
        ({"max_drop": -1}, "`max_drop` must be a positive number"),
        ({"max_macs": float("nan")}, "`max_macs` must be a positive number"),
    ],
)
def test_invalid_limits_are_rejected(limits, message):
    with pytest.raises(ValueError, match=message):
        Limits(**limits)
