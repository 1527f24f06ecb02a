"""Parameters and multiplications are those of the real model and file."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.compression.channel_groups import channel_groups
from keras_kd.compression.model_size import predict_size
from keras_kd.litert.cost import cost
from tests.compression.models import randomized


def size_of(model):
    graph = channel_groups(model).graph
    return predict_size(graph, model.weights, lambda variable: tuple(variable.shape))


def test_parameters_and_multiplications_are_those_of_the_file(tmp_path):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Conv2DTranspose(5, 2, 2)(layers.SeparableConv2D(6, 3)(x))
    x = layers.Dense(7)(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    found = size_of(model)
    assert found.parameters == model.count_params()
    path = kd.export.to_tflite(model, tmp_path / "model.tflite").path
    assert found.macs == cost(path.read_bytes()).macs


def test_the_estimate_of_the_int8_file_is_near_its_size(tmp_path):
    x = inputs = keras.Input((16, 16, 3))
    for filters in (8, 12):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(24, activation="relu")(layers.Flatten()(x))
    model = randomized(keras.Model(inputs, layers.Dense(5)(x)))
    calibration = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
    path = tmp_path / "model.tflite"
    file = kd.export.to_tflite(model, path, "int8", calibration, tolerance=1e9)
    assert size_of(model).int8_bytes == pytest.approx(file.size, rel=0.1)


def test_multiplications_of_attention_and_recurrent_layers():
    x = inputs = keras.Input((5, 6))
    x = layers.MultiHeadAttention(2, 3)(x, x)
    model = keras.Model(inputs, x)
    # Four projections of 5 tokens between 6 and 6 channels, and two products of 5 × 5 × 6.
    assert size_of(model).macs == 4 * 5 * 36 + 2 * 150
    model = keras.Sequential([keras.Input((5, 6)), layers.GRU(4)])
    assert size_of(model).macs == 5 * (6 + 4) * 12


@pytest.mark.parametrize("shape", [(None, 3), (None, None, 3)])
def test_an_unknown_shape_has_no_number_of_multiplications(shape):
    layer = layers.Conv1D(4, 3) if len(shape) == 2 else layers.Conv2D(4, 3)
    model = keras.Sequential([keras.Input(shape), layer])
    assert size_of(model).macs is None
    assert size_of(model).int8_bytes > model.count_params()


def test_multiplications_do_not_depend_on_the_layout():
    def of(layout):
        x = inputs = keras.Input((8, 6, 3) if layout == "channels_last" else (3, 8, 6))
        x = layers.Conv2D(4, 3, data_format=layout)(x)
        x = layers.Conv2DTranspose(5, 2, 2, data_format=layout)(x)
        return size_of(keras.Model(inputs, x)).macs

    assert of("channels_first") == of("channels_last") == 24 * 108 + 24 * 80


@pytest.mark.parametrize(
    ("equation", "shape", "macs"),
    [
        # Tokens, channels and heads: 5 × 6 × (2 × 3).
        ("abc,cde->abde", (5, 2, 3), 180),
        ("...c,cd->...d", 7, 210),
        # Each of 5 positions has a kernel of its own.
        ("abc,bcd->abd", (5, 4), 120),
    ],
)
def test_multiplications_of_einsum_layers(equation, shape, macs):
    model = keras.Sequential([keras.Input((5, 6)), layers.EinsumDense(equation, shape)])
    assert size_of(model).macs == macs


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_a_recurrent_layer_has_operations_for_each_step(kind):
    def of(steps):
        x = inputs = keras.Input((steps, 6))
        x = layers.Bidirectional(kind(8), merge_mode="sum")(x) if steps == 20 else kind(8)(x)
        return size_of(keras.Model(inputs, layers.Dense(3)(x))).int8_bytes

    # The files of `to_tflite` have 34,336, 42,672 and 13,728 bytes.
    files = {layers.LSTM: 34336, layers.GRU: 42672, layers.SimpleRNN: 13728}
    assert of(8) == pytest.approx(files[kind], rel=0.05)
    assert of(20) > 2 * of(8)
    assert of(None) is None
    model = keras.Sequential([keras.Input((None, 6)), kind(8), layers.Dense(3)])
    with pytest.raises(ValueError, match="`max_bytes` needs a model with known shapes"):
        kd.compression.shrink(model, max_bytes=1000)
