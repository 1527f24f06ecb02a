"""The cost of a file: products and parameters, counted by hand."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd.export import to_tflite
from keras_kd.litert.cost import cost
from tests.export import models


def of(tmp_path, model, quantization="float32", calibration=None, **kwargs):
    tflite = to_tflite(model, tmp_path / "m.tflite", quantization, calibration, **kwargs)
    return cost(tflite.path.read_bytes())


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
def test_layers_cost_what_their_formulas_say(tmp_path, layer, macs, parameters):
    model = keras.Sequential([layers.Input((10, 8, 3)), layer])
    if layer.weights:
        biases = layer.weights[-1].shape
        layer.set_weights([layer.get_weights()[0], np.ones(biases)])  # Noughts are left away.
    found = of(tmp_path, model)
    assert (found.macs, found.parameters) == (macs, parameters)


def test_quantization_changes_neither_products_nor_parameters(tmp_path):
    found = [of(tmp_path, models.cnn(), q, models.IMAGES) for q in models.QUANTIZATIONS]
    assert {cost.macs for cost in found} == {36 * 8 * 9 + 288 * 10}
    assert {cost.parameters for cost in found} == {8 * 9 + 8 + 288 * 10}  # Without noughts.


def test_a_loop_costs_its_body_once_for_each_step(tmp_path):
    step = 4 * 16 + 4 * 16  # kernel and recurrent kernel of four gates
    looped = of(tmp_path, models.recurrent(layers.LSTM(4)))
    assert looped.ops["WHILE"] == 1
    assert looped.macs == 6 * step + 12
    unrolled = of(tmp_path, models.recurrent(layers.LSTM(4, unroll=True)))
    assert unrolled.macs == 6 * step + 12 - 4 * 16  # The first state is nought.


def test_matrix_products_of_two_inputs_count(tmp_path):
    a, b = layers.Input((5, 4), name="a"), layers.Input((4, 3), name="b")
    assert of(tmp_path, keras.Model([a, b], ops.matmul(a, b))).macs == 5 * 4 * 3
