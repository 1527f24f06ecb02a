"""The kernels of each class of tf_keras layers."""

import pytest
import tf_keras
from tf_keras import layers

from keras_kd.compression.tfmot.kernels import get_kernels

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
