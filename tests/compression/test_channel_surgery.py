"""A smaller model computes exactly what the original computes with the removed channels masked.

`RANDOM_GRAPHS=200` draws as many random graphs, in place of 12.
"""

import os

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_kd.compression.channel_groups import channel_groups
from keras_kd.compression.channel_surgery import Removal
from keras_kd.models.keras_compat import run_graph
from tests.compression.models import randomized


def outputs_with_mask(model, found, units, x):
    """Run a model and set every removed channel of every tensor to zero."""

    def call(operation, *args, **kwargs):
        value = operation(*args, **kwargs)
        (output,) = found.graph.calls[operation.name][0].outputs
        channels = found.tracer.roots(found.tracer.get(output))
        return value * ops.cast(~np.isin(channels, units), value.dtype)

    before = model.get_weights()
    for slot in found.tracer.slots:
        # A recurrent layer reads its own units, which are no tensor of the graph.
        if slot.variable.name == "recurrent_kernel" and slot.role == "in":
            removed = np.isin(found.tracer.roots(slot.channels), units)
            slot.variable.assign(slot.variable.numpy() * ~removed[:, None])
    outputs = np.asarray(run_graph(model, ops.convert_to_tensor(x), call))
    model.set_weights(before)
    return outputs


def assert_exact(model, found, units, tolerance=1e-5):
    smaller = Removal(found, units).apply(model)
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    expected = outputs_with_mask(model, found, units, x)
    np.testing.assert_allclose(
        np.asarray(smaller(x)), expected, atol=tolerance * max(1, np.abs(expected).max())
    )
    return smaller


class Builder:
    """Builds a random model; `draw` returns a number below its argument.

    Without a layout, it is channels_last, and recurrent layers may follow.
    """

    def __init__(self, draw, layout=None):
        self.draw, self.ends, self.first = draw, 2 if layout else 3, layout == "channels_first"
        self.form = {"data_format": "channels_first" if self.first else "channels_last"}
        self.axis = 1 if self.first else -1

    def conv(self, x, filters, kernel=1, **kwargs):
        return layers.Conv2D(filters, kernel, padding="same", **self.form, **kwargs)(x)

    def convolution(self, x):
        activation = ("relu", "silu", "sigmoid", None)[self.draw(4)]
        return self.conv(x, 2 + self.draw(4), 1 + self.draw(2), activation=activation)

    def normalized(self, x):
        x = self.conv(x, 3, use_bias=False)
        return layers.ReLU()(layers.BatchNormalization(axis=self.axis)(x))

    def depthwise(self, x):
        multiplier = 1 + self.draw(2)
        options = {"padding": "same", "depth_multiplier": multiplier, **self.form}
        return layers.DepthwiseConv2D(2, **options)(x)

    def separable(self, x):
        options = {"padding": "same", "activation": "tanh", **self.form}
        return layers.SeparableConv2D(2 + self.draw(3), 2, **options)(x)

    def residual(self, x):
        y = self.conv(self.convolution(x), x.shape[self.axis])
        return layers.Add()([x, y]) if self.draw(2) else x + y

    def concatenated(self, x):
        return layers.Concatenate(axis=self.axis)([self.convolution(x), x])

    def excited(self, x):
        count = x.shape[self.axis]
        s = layers.GlobalAveragePooling2D(**self.form)(x)
        s = layers.Reshape((count, 1, 1) if self.first else (1, 1, count))(s)
        s = self.conv(s, 2, activation="relu")
        return layers.Multiply()([x, self.conv(s, count, activation="sigmoid")])

    def gated(self, x):
        return layers.Multiply()([x, self.conv(x, 1, activation="sigmoid")])

    def grouped(self, x):
        groups = 2 + self.draw(2)
        y = self.conv(x, groups * (1 + self.draw(2)))
        return self.conv(y, groups * (1 + self.draw(3)), 1 + self.draw(2), groups=groups)

    def resized(self, x):
        x = layers.Conv2DTranspose(3, 1, **self.form)(x)
        return layers.PReLU(shared_axes=[2, 3] if self.first else [1, 2])(x)

    def series(self, x):
        """Return the last layers of a recurrent network."""
        count = x.shape[-1]
        x = layers.Reshape((6, count))(x)
        kind = (layers.LSTM, layers.GRU, layers.SimpleRNN)[self.draw(3)]
        options = {"return_sequences": True}
        if kind is layers.GRU:
            options["reset_after"] = bool(self.draw(2))
        x = layers.EinsumDense("abc,cd->abd", (x.shape[1], 5), bias_axes="d")(x)
        x = kind(3 + self.draw(2), **options)(x)
        if self.draw(2):
            merge = ("concat", "sum")[self.draw(2)]
            x = layers.Bidirectional(kind(3, **options), merge_mode=merge)(x)
        return layers.EinsumDense("abc,cde->abde", (x.shape[1], 2, 3), bias_axes="de")(x)

    def model(self):
        x = inputs = keras.Input((5, 2, 3) if self.first else (2, 3, 5))
        x = self.conv(x, 4, activation="relu")
        steps = (
            *(self.convolution, self.normalized, self.depthwise, self.separable, self.residual),
            *(self.concatenated, self.excited, self.gated, self.grouped, self.resized),
        )
        for _ in range(1 + self.draw(4)):
            x = steps[self.draw(len(steps))](x)
        end = self.draw(self.ends)
        if end == 2:
            x = layers.Flatten()(self.series(x))
        else:
            x = (layers.Flatten, layers.GlobalMaxPooling2D)[end](**self.form)(x)
        return randomized(keras.Model(inputs, layers.Dense(2)(x)))


GRAPHS = int(os.environ.get("RANDOM_GRAPHS", "12"))
examples = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate],  # A smaller example takes minutes to find.
}


@pytest.mark.slow
@settings(max_examples=GRAPHS, **examples)
@given(st.data())
def test_a_random_graph_computes_the_same_with_masked_channels(data):
    """Each graph is reduced twice."""
    model = Builder(lambda below: data.draw(st.integers(0, below - 1))).model()
    found = channel_groups(model)
    for _ in range(2):
        assert_exact(model, found, list(draw_units(data, found)))


def all_units(found):
    return [unit for group in found.groups for unit in group.units]


def draw_units(data, found):
    """Return some units of each group, but not all.

    As in Keras, both directions of a `Bidirectional` have the same number of units.
    """
    counts = {}
    for group in found.groups:
        layer = group.name.rpartition("/")[0] or group.name
        if layer not in counts:
            counts[layer] = data.draw(st.integers(0, len(group) - 1))
        yield from group.units[: counts[layer]]


@pytest.mark.slow
@settings(max_examples=GRAPHS // 2, **examples)
@given(st.data())
def test_both_layouts_of_a_random_graph_keep_the_same_weights(data):
    """On a CPU, TensorFlow's own results for channels_first are wrong in some of these models."""
    draws = []

    def draw(below):
        draws.append(data.draw(st.integers(0, below - 1)))
        return draws[-1]

    model = Builder(draw, "channels_last").model()
    found = channel_groups(model)
    units = list(draw_units(data, found))
    replay = iter(draws)
    twin = Builder(lambda below: next(replay), "channels_first").model()
    other = channel_groups(twin)
    numbers = dict(zip(all_units(found), all_units(other), strict=True))
    pairs = zip(
        Removal(found, units).apply(model).get_weights(),
        Removal(other, [numbers[unit] for unit in units]).apply(twin).get_weights(),
        strict=True,
    )
    for one, same in pairs:  # The slopes of a `PReLU` have the axes of its input.
        np.testing.assert_array_equal(one.ravel(), same.ravel())


def half(found):
    return [unit for group in found.groups for unit in group.units[: len(group) // 2]]


def test_without_a_removal_the_function_is_exactly_the_same():
    model = Builder(lambda below: 2 % below).model()
    copy = Removal(channel_groups(model), []).apply(model)
    x = np.ones((2, *model.input_shape[1:]), "float32")
    np.testing.assert_array_equal(np.asarray(model(x)), np.asarray(copy(x)))
    assert not {id(v) for v in model.weights} & {id(v) for v in copy.weights}


def test_attention_loses_heads_and_a_feed_forward_block_units():
    x = inputs = keras.Input((5, 6))
    x = layers.Add()([x, layers.MultiHeadAttention(4, 3, name="attention")(x, x)])
    y = layers.Dense(8, activation="gelu", name="up")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(6, name="down")(y)])
    model = randomized(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x))))
    found = channel_groups(model)
    assert [(group.name, len(group)) for group in found.groups] == [
        ("attention (heads)", 4),
        ("up", 8),
    ]
    heads = found.groups[0].units[1:3]
    smaller = Removal(found, [*heads, *found.groups[1].units[:3]]).apply(model)
    # Heads have no tensor to mask: their part of the output kernel becomes zero.
    attention, down = (model.get_layer(name) for name in ("attention", "down"))
    for kernel, removed in ((attention.output_dense.kernel, slice(1, 3)), (down.kernel, slice(3))):
        value = kernel.numpy()
        value[removed] = 0
        kernel.assign(value)
    data = np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")
    np.testing.assert_allclose(np.asarray(smaller(data)), np.asarray(model(data)), atol=1e-4)
    assert smaller.get_layer("attention").num_heads == 2


def test_nested_and_shared_models_stay_nested_and_shared():
    inner = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, activation="relu", name="a"),
            layers.Dense(4, name="b"),
        ],
        name="inner",
    )
    x = inputs = keras.Input((3,))
    x = layers.Dense(4, name="first")(x)
    model = randomized(keras.Model(inputs, layers.Dense(2, name="last")(inner(inner(x)))))
    found = channel_groups(model)
    # Both calls of the inner model have the same input channels.
    assert [(g.makers, len(g)) for g in found.groups] == [
        (("first", "inner/b"), 4),
        (("inner/a",), 6),
    ]
    smaller = Removal(found, half(found)).apply(model)
    assert type(smaller.get_layer("inner")) is keras.Sequential
    assert [w.shape for w in smaller.get_layer("inner").weights] == [(2, 3), (3,), (3, 2), (2,)]
    for group, kept in zip(found.groups, ((2, 3), (3, 4, 5)), strict=True):
        assert len(group) - len(kept) == len(group) // 2
    first, last = model.get_layer("first"), model.get_layer("last")
    for layer, keep in ((first, slice(2, 4)), (last, slice(2, 4))):
        kernel = smaller.get_layer(layer.name).kernel.numpy()
        expected = layer.kernel.numpy()
        expected = expected[:, keep] if layer is first else expected[keep]
        np.testing.assert_array_equal(kernel, expected)


def test_dict_inputs_and_sequential_models_keep_their_form():
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((2,), name="b")}
    x = layers.Concatenate()([layers.Dense(4)(inputs["a"]), layers.Dense(6)(inputs["b"])])
    model = keras.Model(inputs, {"y": layers.Dense(2, name="y")(x)})
    found = channel_groups(model)
    smaller = Removal(found, half(found)).apply(model)
    outputs = smaller({"a": np.ones((1, 3)), "b": np.ones((1, 2))})
    assert outputs["y"].shape == (1, 2)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Dense(2)])
    found = channel_groups(model)
    assert type(Removal(found, half(found)).apply(model)) is keras.Sequential


def test_the_shape_of_each_weight_is_known_before():
    model = Builder(lambda below: 3 % below).model()
    found = channel_groups(model)
    removal = Removal(found, half(found))
    shapes = [removal.shape(weight) for weight in model.weights]
    assert shapes == [tuple(weight.shape) for weight in removal.apply(model).weights]
