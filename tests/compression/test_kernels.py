"""Statistics of kernels tell pruned and clustered ones from others."""

import numpy as np
import pytest
import tf_keras
from tf_keras import layers

from keras_kd.compression.kernels import get_kernels, is_clustered, is_pruned, zero_fraction


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


CELLS = [layers.LSTMCell(2, name="a"), layers.GRUCell(2, name="b")]
RECURRENT = ["kernel", "recurrent_kernel"]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Conv2D(3, 3), ["kernel"]),
        (layers.SeparableConv1D(3, 3), ["pointwise_kernel"]),
        (layers.Embedding(9, 3), ["embeddings"]),
        (layers.LSTM(3), RECURRENT),
        (layers.RNN(CELLS), [f"{cell}.{name}" for cell in "ab" for name in RECURRENT]),
        (
            layers.Bidirectional(layers.GRU(3)),
            [f"{side}.{name}" for side in ("forward", "backward") for name in RECURRENT],
        ),
        (layers.RNN(layers.SimpleRNNCell(3)), RECURRENT),
        (layers.BatchNormalization(), []),
        (layers.DepthwiseConv2D(3), []),
    ],
)
def test_kernels_of_each_class_of_layers(layer, expected):
    layer.build((None, 8, 8, 4) if "2D" in type(layer).__name__ else (None, 8, 4))
    kernels = get_kernels(layer)
    assert list(kernels) == expected
    assert all(kernel.ndim >= 2 for kernel in kernels.values())


def test_kernels_of_attention():
    query = tf_keras.Input((5, 4))
    layer = layers.MultiHeadAttention(2, 3)
    layer(query, query)
    parts = ("query", "key", "value", "output")
    assert list(get_kernels(layer)) == [f"_{part}_dense.kernel" for part in parts]
