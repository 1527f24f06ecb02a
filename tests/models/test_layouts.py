"""The axis of the channels is read from the layers, also behind layers that move it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.models.graph import open_graph
from keras_kd.models.layouts import (
    Layouts,
    from_channels_last,
    shape_from_channels_last,
    shape_with_channels_last,
    to_channels_last,
)

FIRST = {"data_format": "channels_first"}
LAST = {"data_format": "channels_last"}
MAP = (3, 8, 6)


def axis_of(shape, *steps):
    """The axis of the channels of a model's output; `steps` are layers or functions."""
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    graph = open_graph(keras.Model(inputs, x))
    return Layouts(graph).channel_axis(graph.outputs)


def conv(layout=FIRST):
    return layers.Conv2D(5, 1, **layout)


def mixer():
    return [layers.Permute((2, 1)), layers.Dense(8), layers.Permute((2, 1))]


@pytest.mark.parametrize(
    ("shape", "layer", "axis"),
    [
        (MAP, layers.Conv2D(5, 3, **FIRST), 1),
        (MAP, layers.Conv2D(5, 3, **LAST), 3),
        (MAP, layers.DepthwiseConv2D(3, **FIRST), 1),
        (MAP, layers.SeparableConv2D(5, 3, **FIRST), 1),
        (MAP, layers.Conv2DTranspose(5, 3, **FIRST), 1),
        (MAP, layers.MaxPooling2D(2, **FIRST), 1),
        (MAP, layers.AveragePooling2D(2, **FIRST), 1),
        (MAP, layers.GlobalAveragePooling2D(keepdims=True, **FIRST), 1),
        (MAP, layers.GlobalMaxPooling2D(**FIRST), 1),
        (MAP, layers.UpSampling2D(2, **FIRST), 1),
        (MAP, layers.ZeroPadding2D(1, **FIRST), 1),
        (MAP, layers.Cropping2D(1, **FIRST), 1),
        (MAP, layers.Resizing(4, 4, **FIRST), 1),
        (MAP, layers.SpatialDropout2D(0.5, **FIRST), 1),
        (MAP, layers.BatchNormalization(axis=1), 1),
        (MAP, layers.GroupNormalization(1, axis=1), 1),
        (MAP, layers.BatchNormalization(), 3),
        (MAP, layers.Softmax(axis=1), 1),
        (
            MAP,
            lambda x: ops.conv(x, np.ones((1, 1, 3, 5), "float32"), data_format="channels_first"),
            1,
        ),
        ((3, 8), layers.Conv1D(5, 3, **FIRST), 1),
        ((3, 8), layers.AveragePooling1D(2, **FIRST), 1),
        ((3, 8, 6, 4), layers.Conv3D(5, 3, **FIRST), 1),
        ((7, *MAP), layers.TimeDistributed(layers.Conv2D(5, 3, **FIRST)), 2),
        ((7, *MAP), layers.ConvLSTM2D(5, 3, **FIRST), 1),
        ((7, *MAP), layers.ConvLSTM2D(5, 3, return_sequences=True, **FIRST), 2),
        ((7, 4), layers.LSTM(5, return_sequences=True), 2),
        ((7, 4), layers.Bidirectional(layers.LSTM(5, return_sequences=True)), 2),
        ((7, 4), layers.Dense(5), 2),
        ((7,), layers.Embedding(5, 3), 2),
        (MAP, layers.ReLU(), 3),
        ((4,), layers.Dense(2), 1),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_layer_that_makes_a_tensor_tells(shape, layer, axis):
    assert axis_of(shape, layer) == axis


@pytest.mark.parametrize(
    ("steps", "axis"),
    [
        ([layers.BatchNormalization(axis=1), layers.ReLU(), layers.Dropout(0.5)], 1),
        ([layers.BatchNormalization()], 1),
        ([layers.LayerNormalization(), layers.Activation("gelu"), layers.Rescaling(2.0)], 1),
        ([lambda x: ops.relu(x) * 2 + 1, lambda x: layers.Add()([x, x])], 1),
        ([lambda x: layers.Concatenate(axis=1)([x, x])], 1),
        ([layers.Permute((2, 3, 1))], 3),
        ([layers.Permute((2, 3, 1)), layers.Permute((3, 1, 2))], 1),
        ([layers.Permute((2, 1, 3))], 2),
        ([lambda x: ops.transpose(x, (0, 2, 3, 1))], 3),
        ([lambda x: ops.moveaxis(x, 1, -1)], 3),
        ([lambda x: ops.swapaxes(x, 1, 2)], 2),
        ([lambda x: ops.expand_dims(x, 1)], 2),
        ([lambda x: x[:, :, 0]], 1),
        ([lambda x: ops.mean(x, axis=(2, 3))], 1),
        ([lambda x: ops.mean(x, axis=(2, 3), keepdims=True)], 1),
        ([layers.Reshape((5, 48))], 1),
        ([layers.Permute((2, 3, 1)), layers.Reshape((48, 5)), layers.Dense(7)], 2),
        ([layers.Permute((2, 3, 1)), layers.Reshape((48, 5)), layers.LSTM(5)], 1),
        ([layers.Flatten(), layers.Dense(4)], 1),
        ([layers.Dense(7)], 1),
        # Squeeze and excite, in two ways.
        (
            [
                lambda x: layers.Multiply()(
                    [x, layers.Reshape((5, 1, 1))(layers.GlobalMaxPooling2D(**FIRST)(x))]
                )
            ],
            1,
        ),
        ([lambda x: x * layers.GlobalMaxPooling2D(**FIRST)(x)[:, :, None, None]], 1),
        # Not known: the channels may be anywhere.
        ([layers.Reshape((6, 40))], None),
        ([layers.Reshape((6, 40)), layers.ReLU()], None),
        ([lambda x: x[:, :3]], None),
        ([lambda x: ops.einsum("bchw,hv->bvcw", x, np.ones((8, 4), "float32"))], None),
        ([layers.Reshape((6, 40)), layers.Conv1D(4, 1, **LAST)], 2),
    ],
)
def test_layers_keep_or_move_the_channels(steps, axis):
    assert axis_of((3, 8, 6), layers.Conv2D(5, 1, **FIRST), *steps) == axis


def test_a_sum_of_two_layouts_has_no_known_axis():
    swapped = [conv(), lambda x: layers.Add()([x, layers.Permute((2, 1, 3))(x)])]
    assert axis_of((3, 5, 5), *swapped) is None


@pytest.mark.parametrize(
    ("shape", "steps", "axis"),
    [
        ((8, 6), [layers.LSTM(5, return_sequences=True), layers.Permute((2, 1))], 1),
        # A mixer moves the channels and moves them back.
        ((8, 5), [layers.LSTM(5, return_sequences=True), *mixer()], 2),
        ((8, 5), mixer(), 2),
        ((48,), [layers.Reshape((8, 6)), layers.Dense(5)], 2),
        ((8, 6, 4), [layers.Reshape((48, 4))], 2),
        ((8, 6, 4), [conv(LAST), layers.Reshape((5, 48))], 2),
        ((8, 6, 4), [conv(LAST), layers.Permute((3, 1, 2)), layers.Softmax(axis=1)], 1),
        ((8,), [layers.Reshape((8, 1)), layers.TimeDistributed(layers.Dense(4))], 2),
        ((8, 6), [lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1)))], 2),
    ],
)
def test_without_a_layer_with_channels_first_the_last_axis_is_the_default(shape, steps, axis):
    assert axis_of(shape, *steps) == axis


def test_the_layers_after_a_tensor_tell_where_those_before_do_not():
    image = keras.Input(MAP)
    scaled = layers.Rescaling(2.0, name="scaled")(image)
    maps = layers.Conv2D(5, 1, name="maps", **FIRST)(layers.ReLU(name="relu")(scaled))
    graph = open_graph(keras.Model(image, maps))
    axes = {name: Layouts(graph).channel_axis(c.outputs[0]) for name, (c,) in graph.calls.items()}
    assert axes == {"scaled": 1, "relu": 1, "maps": 1}
    vector = keras.Input((24,))
    maps = layers.Conv2DTranspose(5, 1, **FIRST)(layers.Reshape((2, 4, 3), name="r")(vector))
    graph = open_graph(keras.Model(vector, maps))
    assert Layouts(graph).channel_axis(graph.calls["r"][0].outputs[0]) == 1
    steps = layers.Reshape((6, 40), name="r")(conv()(image))
    graph = open_graph(keras.Model(image, layers.Conv1D(4, 1, **LAST)(steps)))
    assert Layouts(graph).channel_axis(graph.calls["r"][0].outputs[0]) == 2


def test_layers_of_ones_own_are_read_by_the_layers_within_them():
    class Block(layers.Layer):
        def __init__(self, layout, filters):
            super().__init__()
            self.conv = layers.Conv2D(filters, 1, **layout)

        def build(self, shape):
            self.conv.build(shape)

        def call(self, x):
            return ops.relu(self.conv(x))

    class Tokens(layers.Layer):
        """Patches (batch, steps, channels); its `data_format` is that of its input."""

        data_format = "channels_first"

        def call(self, x):
            return ops.transpose(ops.reshape(x, (-1, x.shape[1], 48)), (0, 2, 1))

    class Scale(layers.Layer):
        def call(self, x):
            return 2 * x

    assert axis_of(MAP, Block(FIRST, 5)) == 1
    assert axis_of(MAP, Block(LAST, 5)) == 3
    assert axis_of(MAP, conv(), Scale()) == 1
    assert axis_of(MAP, conv(), Tokens()) is None
    assert axis_of(MAP, conv(), Tokens(), layers.LSTM(3)) == 1
    nested = keras.Sequential([keras.Input(MAP), conv()], name="nested")
    assert axis_of(MAP, nested, layers.ReLU()) == 1


@pytest.mark.slow
def test_a_deep_model_needs_no_deep_recursion():
    x = image = keras.Input(MAP)
    x = layers.Conv2D(3, 1, **FIRST)(x)
    for _ in range(400):
        x = layers.Add()([x, layers.ReLU()(x)])
    graph = open_graph(keras.Model(image, x))
    assert Layouts(graph).channel_axis(graph.outputs) == 1


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_values_and_shapes_are_moved_and_moved_back(axis):
    x = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 5)))
    x._keras_mask = ops.ones((2, 3), "bool")
    moved = to_channels_last(x, axis)
    np.testing.assert_array_equal(moved, np.moveaxis(x, axis, -1))
    np.testing.assert_array_equal(moved._keras_mask, x._keras_mask)
    np.testing.assert_array_equal(from_channels_last(moved, axis), x)
    assert shape_with_channels_last((2, 3, 4, 5), axis) == tuple(moved.shape)
    assert shape_from_channels_last(tuple(moved.shape), axis) == (2, 3, 4, 5)


def test_a_data_format_that_is_not_given_is_that_of_the_configuration():
    keras.config.set_image_data_format("channels_first")
    try:
        assert axis_of(MAP, layers.Conv2D(5, 1)) == 1
        assert axis_of(MAP, lambda x: ops.average_pool(x, 2)) == 1
    finally:
        keras.config.set_image_data_format("channels_last")
