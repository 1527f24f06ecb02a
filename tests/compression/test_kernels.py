"""Statistics of kernels tell pruned and clustered ones from others."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.kernels import get_kernels, is_clustered, is_pruned, zero_fraction
from keras_kd.compression.tfmot.convert import to_tf_keras
from tests.compression import models


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


def wide_and_deep():
    x = keras.Input((8, 4))
    cells = layers.RNN([layers.LSTMCell(2, name="a"), layers.GRUCell(2, name="b")], name="cells")
    outputs = [
        layers.SeparableConv1D(3, 3, name="separable")(x),
        layers.LSTM(3, name="lstm")(x),
        cells(x),
        layers.Bidirectional(layers.GRU(3), name="both")(x),
        layers.MultiHeadAttention(2, 3, name="attention")(x, x),
        layers.BatchNormalization(name="norm")(x),
    ]
    return models.randomized(keras.Model(x, outputs))


@pytest.fixture(scope="module")
def converted():
    return to_tf_keras(wide_and_deep())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("separable", ["pointwise_kernel"]),
        ("lstm", ["kernel", "recurrent_kernel"]),
        ("cells", ["a.kernel", "a.recurrent_kernel", "b.kernel", "b.recurrent_kernel"]),
        (
            "both",
            [f"{s}.{n}" for s in ("forward", "backward") for n in ("kernel", "recurrent_kernel")],
        ),
        ("attention", [f"_{part}_dense.kernel" for part in ("query", "key", "value", "output")]),
        ("norm", []),
    ],
)
def test_kernels_of_each_class_of_layers(converted, name, expected):
    kernels = get_kernels(converted.get_layer(name))
    assert list(kernels) == expected
    assert all(kernel.ndim >= 2 for kernel in kernels.values())
