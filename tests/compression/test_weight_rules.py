"""Layers with weights make channels, read them, or are kept whole."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.compression.channel_groups import channel_groups
from keras_kd.compression.weight_rules import is_elementwise
from tests.compression.models import randomized


def groups_of(model):
    return {group.name: len(group) for group in channel_groups(model).groups}


def series(*steps):
    """A model of steps between two dense layers."""
    x = inputs = keras.Input((4, 3))
    x = layers.Dense(6, name="before")(x)
    for step in steps:
        x = step(x)
    return randomized(keras.Model(inputs, layers.Dense(2, name="after")(layers.Flatten()(x))))


def test_only_activations_of_keras_are_elementwise():
    assert is_elementwise(keras.activations.relu)
    assert not is_elementwise(keras.activations.softmax)

    def relu(x):
        return ops.flip(x, -1)

    assert not is_elementwise(relu)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (layers.LSTM(5, name="r"), {"before": 6, "r": 5}),
        (layers.GRU(5, name="r", return_sequences=True), {"before": 6, "r": 5}),
        (layers.GRU(5, name="r", reset_after=False), {"before": 6, "r": 5}),
        (layers.SimpleRNN(5, name="r", use_bias=False), {"before": 6, "r": 5}),
        (layers.LSTM(5, recurrent_activation="softmax"), {"before": 6}),
        (layers.EinsumDense("abc,cd->abd", (4, 5), bias_axes="d", name="e"), {"before": 6, "e": 5}),
        (layers.EinsumDense("...x,xy->...y", 5, name="e"), {"before": 6, "e": 5}),
        (
            layers.EinsumDense("abc,cde->abde", (4, 2, 5), bias_axes="b", name="e"),
            {"before": 6, "e": 5},
        ),
        (layers.EinsumDense("abc,bcd->abd", (4, 5), name="e"), {"before": 6, "e": 5}),
        # The kernel mixes the steps, or scales each channel.
        (layers.EinsumDense("abc,bd->adc", (5, 6)), {}),
        (layers.EinsumDense("abc,c->abc", (4, 6)), {}),
        (layers.Conv1D(6, 2, groups=3, name="g"), {"g (groups)": 3}),
        (layers.Conv1D(6, 2, groups=3, activation="softmax"), {}),
    ],
)
def test_units_and_channels_that_can_be_removed(step, expected):
    assert groups_of(series(step)) == expected


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_both_directions_of_a_bidirectional_layer_lose_units(merge):
    model = series(layers.Bidirectional(layers.GRU(5, name="r"), merge_mode=merge, name="bi"))
    groups = groups_of(model)
    joined = {"bi/forward_r": 5}
    assert groups == {"before": 6, **joined, **({"bi/backward_r": 5} if merge == "concat" else {})}
    result = kd.compression.shrink(model, 0.4)
    bi = result.model.get_layer("bi")
    assert (bi.forward_layer.units, bi.backward_layer.units) == (2, 2)
    assert bi.backward_layer.go_backwards
    assert kd.compression.shrink(model, 0.5, skip=["bi"]).kept == {"before": 3}


def test_the_states_of_a_recurrent_layer_are_those_of_its_encoder():
    x = inputs = keras.Input((4, 3))
    _, *states = layers.LSTM(5, return_state=True, name="encoder")(x)
    y = layers.LSTM(5, name="decoder")(x, initial_state=states)
    model = keras.Model(inputs, layers.Dense(2)(y))
    (group,) = channel_groups(model).groups
    assert (group.makers, len(group)) == (("encoder", "decoder"), 5)
    small = kd.compression.shrink(model, 0.5).model
    assert small(np.ones((2, 4, 3))).shape == (2, 2)


def test_a_recurrent_layer_that_keeps_its_state_is_kept_whole():
    inputs = keras.Input(batch_shape=(2, 4, 3))
    x = layers.GRU(5, stateful=True, name="r")(layers.Dense(6)(inputs))
    found = channel_groups(keras.Model(inputs, layers.Dense(2)(x)))
    assert found.groups == ()
    assert found.whole["r"] == "'r' (GRU) has no rule for it"


def test_groups_of_a_convolution_leave_with_their_inputs_and_outputs():
    x = inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(8, 1, name="in")(x)
    x = layers.Conv2D(12, 3, groups=4, padding="same", name="grouped")(x)
    model = randomized(keras.Model(inputs, layers.Conv2D(2, 1, name="out")(x)))
    (group,) = channel_groups(model).groups
    assert (group.name, group.makers, group.readers) == (
        "grouped (groups)",
        ("in", "grouped"),
        ("grouped", "out"),
    )
    small = kd.compression.shrink(model, 0.5).model
    assert (small.get_layer("in").filters, small.get_layer("grouped").filters) == (4, 6)
    assert small.get_layer("grouped").groups == 2


@pytest.mark.parametrize("shape", [(5, 4, 4), (5, 2, 8)])
def test_channels_first_models_lose_the_same_channels(shape):
    form = {"data_format": "channels_first"}
    x = inputs = keras.Input(shape)
    x = layers.Conv2D(6, 3, padding="same", name="conv", **form)(x)
    x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    x = layers.MaxPooling2D(**form)(x)
    x = layers.DepthwiseConv2D(1, name="depthwise", **form)(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(x)))
    (group,) = channel_groups(model).groups
    assert (group.name, len(group), group.readers) == ("conv", 6, ("head",))
    small = kd.compression.shrink(randomized(model), 0.5)
    assert small.model.get_layer("depthwise").output.shape == (None, 3, *small_sides(shape))
    # Without `data_format`, `Flatten` keeps the positions of a channel together.
    kept = [
        place
        for place, column in enumerate(np.moveaxis(model.get_layer("conv").kernel.numpy(), -1, 0))
        if any(
            np.array_equal(column, other)
            for other in np.moveaxis(small.model.get_layer("conv").kernel.numpy(), -1, 0)
        )
    ]
    rows = model.get_layer("head").kernel.numpy().reshape(6, -1, 2)[kept]
    np.testing.assert_array_equal(small.model.get_layer("head").kernel.numpy(), rows.reshape(-1, 2))


def small_sides(shape):
    return tuple(side // 2 for side in shape[1:])


def test_a_layer_that_mixes_another_axis_keeps_the_channels():
    x = inputs = keras.Input((5, 4, 4))
    x = layers.Conv2D(6, 3, data_format="channels_first", name="conv")(x)
    x = layers.Dense(3, name="mix")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    found = channel_groups(model)
    assert [group.name for group in found.groups] == ["mix"]
    assert found.whole["conv"] == "a layer reads another axis than that of the channels"


def test_several_groups_of_one_layer_have_names_of_their_own():
    x = inputs = keras.Input((5,))
    one, other = layers.Dense(3)(x), layers.Dense(4)(x)
    y = layers.Add()([layers.Dense(7, name="sum")(x), layers.Concatenate()([one, other])])
    names = [group.name for group in channel_groups(keras.Model(inputs, layers.Dense(2)(y))).groups]
    assert len(set(names)) == len(names) == 2


def test_one_slope_for_all_channels():
    model = series(layers.PReLU(shared_axes=[1, 2]))
    assert groups_of(model) == {"before": 6}
    assert kd.compression.shrink(model, 0.5).model(np.ones((1, 4, 3))).shape == (1, 2)
