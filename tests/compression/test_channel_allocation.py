"""How many channels each group keeps within limits."""

import keras
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.compression.channel_allocation import ChannelAllocation


@pytest.fixture(scope="module")
def model():
    """A narrow convolution before a wide dense layer."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, name="conv"),
            layers.Flatten(),
            layers.Dense(200, activation="relu", name="wide"),
            layers.Dense(10),
        ]
    )


@pytest.mark.parametrize("balance", [0, 0.5, 1])
def test_the_allocation_uses_the_budget_and_the_model_has_the_predicted_size(model, balance):
    found = ChannelAllocation(model)
    shares = found.solve({"int8_bytes": 20_000}, balance)
    size = found.size(shares)
    assert 18_000 < size.int8_bytes <= 20_000
    shrunk = kd.compression.shrink(model, shares)
    assert shrunk.after == size
    assert shrunk.model.count_params() == size.parameters


def test_a_balanced_allocation_keeps_the_cheap_group_and_an_even_one_the_same_shares(model):
    found = ChannelAllocation(model)
    even, balanced = (found.solve({"int8_bytes": 20_000}, balance) for balance in (0, 1))
    assert even["conv"] == pytest.approx(even["wide"])
    assert balanced["conv"] > even["conv"]
    assert balanced["wide"] < even["wide"]


def test_all_limits_hold(model):
    found = ChannelAllocation(model)
    size = found.size(found.solve({"int8_bytes": 20_000, "macs": 9_000}, 0.5))
    assert size.int8_bytes <= 20_000
    assert size.macs <= 9_000


def test_limits_that_hold_anyway_leave_everything_and_impossible_ones_give_nothing(model):
    found = ChannelAllocation(model)
    assert found.solve({"int8_bytes": 1e9}, 1) == {"conv": 1.0, "wide": 1.0}
    assert found.solve({"int8_bytes": 1_000}, 1) is None
    assert found.size(found.least).parameters < 200


def test_a_model_without_channels_to_remove_is_rejected():
    with pytest.raises(ValueError, match="no channels that can be removed"):
        ChannelAllocation(keras.Sequential([keras.Input((4,)), layers.Dense(3)]))
