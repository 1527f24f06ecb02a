"""Groups of channels of whole models, and what is kept whole."""

import keras
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.compression.channel_groups import channel_groups
from tests.compression import models


def block():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    y = layers.Conv2D(16, 1, activation="relu", name="expand")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    x = layers.Add(name="add")([x, layers.Conv2D(8, 1, name="project")(y)])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(x), name="block")


def test_coupled_layers_are_one_group():
    found = channel_groups(block())
    assert [(g.name, g.makers, g.readers, len(g)) for g in found.groups] == [
        ("stem", ("stem", "project"), ("expand", "head"), 8),
        ("expand", ("expand",), ("project",), 16),
    ]
    assert found.whole == {"head": "an output of the model"}


def test_the_groups_are_printed_as_a_table():
    lines = str(channel_groups(block())).splitlines()
    assert lines[2].split() == ["stem", "8", "stem,", "project", "expand,", "head"]
    assert lines[-1].split(maxsplit=2) == ["head", "whole", "an output of the model"]
    assert repr(channel_groups(block())) == "ChannelGroups(2 groups, 1 layers kept whole)"


def test_parts_of_a_concatenation_are_groups_of_their_own():
    x = inputs = keras.Input((5,))
    one, other = layers.Dense(3, name="one")(x), layers.Dense(4, name="other")(x)
    y = layers.Dense(7, name="sum")(x) + layers.Concatenate()([one, other])
    found = channel_groups(keras.Model(inputs, layers.Dense(2, name="head")(y)))
    assert {(g.makers, len(g)) for g in found.groups} == {
        (("one", "sum"), 3),
        (("other", "sum"), 4),
    }


def test_channels_under_a_layer_of_an_unknown_kind_are_kept_whole():
    class Own(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight((shape[-1],), "ones")

        def call(self, x):
            return x * self.scale

    x = inputs = keras.Input((5,))
    x = layers.Dense(6, name="free")(x)
    x = Own(name="own")(layers.Dense(4, name="before")(x))
    found = channel_groups(keras.Model(inputs, layers.Dense(2, name="head")(x)))
    assert [group.name for group in found.groups] == ["free"]
    assert found.whole["before"] == found.whole["own"] == "'own' (Own) has no rule for it"


def test_a_subclassed_model_is_rejected():
    with pytest.raises(ValueError, match="must be Functional or Sequential.* is subclassed"):
        kd.compression.channel_groups(models.subclassed())


def test_heads_are_a_group_beside_the_channels_of_the_output():
    inputs = keras.Input((5, 8))
    x = layers.Dense(6, name="dense")(inputs)
    x = layers.MultiHeadAttention(3, 2, name="attention")(x, x)
    found = channel_groups(keras.Model(inputs, layers.Dense(2)(x)))
    assert {(g.name, len(g)) for g in found.groups} == {("dense", 6), ("attention (heads)", 3)}
