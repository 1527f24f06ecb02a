"""The cost of a file: multiplications and parameters, compared with counts by hand."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.litert.cost import cost
from tests.export import models


def cost_of(model):
    return cost(models.convert(model)[0])


@pytest.mark.parametrize(
    ("layer", "macs", "parameters"),
    [
        (layers.Conv2D(6, 3), 8 * 6 * 6 * 27, 6 * 27 + 6),
        (layers.Conv2D(6, 3, strides=2, padding="same"), 5 * 4 * 6 * 27, 6 * 27 + 6),
        (layers.DepthwiseConv2D(3), 8 * 6 * 3 * 9, 30),
        (layers.Conv2DTranspose(4, 2, strides=2), 10 * 8 * 3 * 4 * 4, 3 * 4 * 4 + 4),
        (layers.Dense(7), 10 * 8 * 3 * 7, 28),
    ],
    ids=["conv", "strided", "depthwise", "transposed", "dense"],
)
def test_layers_cost_what_their_formulas_say(layer, macs, parameters):
    model = keras.Sequential([layers.Input((10, 8, 3)), layer])
    biases = layer.weights[-1].shape
    layer.set_weights([layer.get_weights()[0], np.ones(biases)])  # Zero biases are removed.
    found = cost_of(model)
    assert (found.macs, found.parameters) == (macs, parameters)


@pytest.mark.parametrize("quantization", ["float32", "float16", "dynamic", "int8"])
def test_quantization_changes_neither_products_nor_parameters(quantization):
    found = cost(models.content(models.cnn, quantization))
    assert found.macs == 36 * 8 * 9 + 288 * 10
    assert found.parameters == 8 * 9 + 8 + 288 * 10  # The biases of the last layer are zero.


def test_a_loop_costs_its_body_once_per_step():
    step = 4 * 16 + 4 * 16  # Kernel and recurrent kernel of four gates.
    looped = cost_of(models.recurrent(layers.LSTM(4)))
    assert looped.ops["WHILE"] == 1
    assert looped.macs == 6 * step + 12
    unrolled = cost_of(models.recurrent(layers.LSTM(4, unroll=True)))
    assert unrolled.macs == 6 * step + 12 - 4 * 16  # The initial state is zero.


def test_matrix_products_of_two_inputs_count():
    a, b = layers.Input((5, 4), name="a"), layers.Input((4, 3), name="b")
    assert cost_of(keras.Model([a, b], ops.matmul(a, b))).macs == 5 * 4 * 3
