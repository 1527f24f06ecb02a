"""Channels are joined, pinned, and belong to axes of weights."""

import keras
import numpy as np
import pytest

from keras_kd.compression.channel_tracer import ChannelTracer
from keras_kd.models.graph import Call


def test_channels_of_the_same_position_are_joined():
    tracer = ChannelTracer()
    one, other = tracer.make(3), tracer.make(3)
    assert len(set(tracer.roots(np.concatenate([one, other])))) == 6
    np.testing.assert_array_equal(tracer.join(one, other), one)
    np.testing.assert_array_equal(tracer.roots(one), tracer.roots(other))


def test_a_channel_that_is_broadcast_is_pinned():
    tracer = ChannelTracer()
    many, single = tracer.make(3), tracer.make(1)
    np.testing.assert_array_equal(tracer.join(single, many, reason="because"), many)
    assert tracer.pins == {int(single[0]): "because"}


def test_other_numbers_of_channels_are_rejected():
    tracer = ChannelTracer()
    with pytest.raises(ValueError, match="2 and 3 channels do not match"):
        tracer.join(tracer.make(2), tracer.make(3))


def test_a_tensor_has_the_channels_of_its_last_axis():
    tracer = ChannelTracer()
    assert len(tracer.get(keras.Input((4, 5)))) == 5
    assert len(tracer.get(keras.Input((4, None)))) == 0
    assert len(tracer.get(keras.KerasTensor((None,)))) == 0
    x = keras.Input((2,))
    assert tracer.get(x) is tracer.get(x)


def test_the_calls_of_a_layer_share_their_channels():
    tracer = ChannelTracer()
    call = Call("layer", keras.layers.Dense(1), (), {}, [])
    one, other, made = tracer.make(2), tracer.make(2), tracer.make(3)
    assert tracer.first_call(call, one) is None
    tracer.remember(call, one, made)
    (found,) = tracer.first_call(call, other)
    assert found is made
    np.testing.assert_array_equal(tracer.roots(one), tracer.roots(other))


def test_the_first_reason_of_a_pin_counts():
    tracer = ChannelTracer()
    channels = tracer.make(1)
    tracer.pin(channels, "first")
    tracer.pin(channels, "second")
    assert tracer.pins == {int(channels[0]): "first"}
