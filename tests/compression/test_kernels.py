"""Kernels of all layers are found, and statistics tell pruned and clustered ones from others."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.kernels import is_clustered, is_pruned, list_kernels, zero_fraction


def test_zero_fraction_counts_all_kernels_together():
    assert zero_fraction([np.zeros(3), np.ones((3, 3))]) == 0.25
    assert zero_fraction([]) == 0.0


def test_a_tenth_of_zeros_means_pruned():
    kernel = np.arange(10.0)
    assert is_pruned([kernel])
    assert not is_pruned([kernel, np.ones(1)])


def test_half_as_many_values_as_weights_means_clustered():
    assert is_clustered(np.array([[1.0, 2.0], [2.0, 1.0]]), per_channel=False)
    assert not is_clustered(np.array([[1.0, 2.0], [2.0, 3.0]]), per_channel=False)
    # Zeros do not count, neither as a value nor as weights.
    assert not is_clustered(np.array([[1.0, 2.0], [0.0, 0.0]]), per_channel=False)


def test_each_channel_can_have_its_own_values():
    kernel = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    assert is_clustered(kernel, per_channel=True)
    assert not is_clustered(kernel.T, per_channel=True)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Dense(3), {"kernel": ((0,), (1,))}),
        (layers.Conv2D(3, 3), {"kernel": ((2,), (3,))}),
        (layers.Conv2DTranspose(3, 3), {"kernel": ((3,), (2,))}),
        (layers.SeparableConv2D(3, 3), {"pointwise_kernel": ((2,), (3,))}),
        (layers.DepthwiseConv2D(3), {}),
        (layers.BatchNormalization(), {}),
        (layers.EinsumDense("abcd,cde->abe", (None, 3)), {"kernel": ((0, 1), (2,))}),
    ],
)
def test_kernels_and_their_channels(layer, expected):
    model = keras.Sequential([keras.Input((8, 8, 4)), layer])
    (found,) = list_kernels(model)
    assert {k.name: (k.inputs, k.outputs) for k in found.kernels} == expected
    assert bool(found.kernels) != bool(found.reason)


class Scale(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(4, name="inner")

    def build(self, shape):
        self.inner.build(shape)
        self.kernel = self.add_weight((4, 4), name="kernel")
        self.scale = self.add_weight((4, 4), name="scale")

    def call(self, x):
        return self.inner(x) @ self.kernel * self.scale[0]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Scale(name="one"), Scale(name="two")]
        self.attention = layers.MultiHeadAttention(2, 2, name="attention")

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.attention(x, x)


def test_kernels_of_custom_layers_and_of_layers_inside_layers():
    model = Subclassed()
    model(np.zeros((1, 3, 4), "float32"))
    model.blocks[1].trainable = False
    one, two, attention = list_kernels(model)
    assert [kernel.name for kernel in one.kernels] == ["kernel", "inner.kernel"]
    assert (two.path, two.kernels, two.reason) == ("two", (), "frozen")
    parts = ("query", "key", "value", "attention_output")
    assert sorted(k.name for k in attention.kernels) == sorted(f"{p}.kernel" for p in parts)


def test_nested_models_are_opened_and_shared_weights_listed_once():
    dense = layers.Dense(4, name="dense")
    inner = keras.Sequential([keras.Input((4,)), dense], name="inner")
    x = keras.Input((4,))
    found = list_kernels(keras.Model(x, dense(inner(x))))
    assert sorted(one.path for one in found) == ["dense", "inner/dense"]
    assert sum(len(one.kernels) for one in found) == 1
    (reason,) = [one.reason for one in found if not one.kernels]
    assert reason == "shares its weights with a layer before it"


def test_both_directions_of_a_bidirectional_layer():
    gru = layers.GRU(3)
    model = keras.Sequential([keras.Input((5, 4)), layers.Bidirectional(gru)])
    assert len(list_kernels(model)[0].kernels) == 4
