"""Layers round their kernels as LiteRT does, keep zeros and values, and train."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.models.rounded_layers import ROUNDED, round_kernel

RNG = np.random.default_rng(0)


def test_a_kernel_is_rounded_to_127_steps_per_channel():
    kernel = np.float32([[1.27, -0.5], [0.014, 0.1]])
    rounded = np.asarray(round_kernel(kernel, (0,)))
    expected = [[1.27, -0.5], [0.01, 25 * 0.5 / 127]]
    np.testing.assert_allclose(rounded, expected, atol=1e-7)


def test_a_channel_of_zeros_stays_zero():
    np.testing.assert_array_equal(round_kernel(np.zeros((2, 2), "float32"), (0,)), 0)


@pytest.mark.parametrize(
    ("make", "shape", "axes"),
    [
        (lambda: layers.Conv2D(4, 3), (1, 8, 8, 3), (0, 1, 2)),
        (lambda: layers.Conv1D(4, 3), (1, 8, 3), (0, 1)),
        (lambda: layers.Dense(4), (1, 8), (0,)),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (1, 8, 8, 3), (0, 1)),
        (lambda: layers.DepthwiseConv1D(3), (1, 8, 3), (0,)),
        (lambda: layers.Conv2DTranspose(4, 3), (1, 8, 8, 3), (0, 1, 3)),
        (lambda: layers.Conv1DTranspose(4, 3), (1, 8, 3), (0, 2)),
    ],
)
def test_a_layer_computes_with_one_scale_per_output_channel(make, shape, axes):
    plain = make()
    rounded = ROUNDED[type(plain)].from_config(plain.get_config())
    x = RNG.normal(size=shape).astype("float32")
    plain(x), rounded(x)
    rounded.set_weights(plain.get_weights())
    assert rounded.scale_axes == axes
    plain.kernel.assign(round_kernel(np.asarray(plain.kernel), axes))
    np.testing.assert_allclose(rounded(x), plain(x), atol=1e-6)
    assert np.abs(plain.kernel - rounded.kernel).max() > 0  # The float kernel stays.


def test_an_embedding_has_one_scale():
    layer = ROUNDED[layers.Embedding](5, 3)
    layer(np.arange(5))
    layer.embeddings.assign(RNG.normal(size=(5, 3)))
    table = np.asarray(layer.embeddings)
    np.testing.assert_allclose(layer(np.arange(5)), round_kernel(table, (0, 1)), atol=1e-6)


def train(layer, kernel):
    model = keras.Sequential([keras.Input((4,)), layer])
    layer.kernel.assign(kernel)
    layer.preserve()
    model.compile(keras.optimizers.SGD(0.5), "mse", run_eagerly=True)
    model.fit(RNG.normal(size=(8, 4)), RNG.normal(size=(8, 3)), epochs=1, verbose=0)
    return np.asarray(layer.used_kernel())


def test_zeros_stay_zero_in_training():
    kernel = np.float32([[0, 1, 2]] * 2 + [[1, 0, 3]] * 2)
    trained = train(ROUNDED[layers.Dense](3, keep_zeros=True), kernel)
    np.testing.assert_array_equal(trained == 0, kernel == 0)
    assert np.abs(trained - kernel).max() > 0


def test_equal_weights_stay_equal_in_training():
    kernel = np.float32([[0.5, 1, 1]] * 2 + [[1, 0.5, -1]] * 2)
    trained = train(ROUNDED[layers.Dense](3, clusters=3), kernel)
    assert len(np.unique(trained)) == 3
    for value in np.unique(kernel):
        assert len(np.unique(trained[kernel == value])) == 1
    assert np.abs(trained - kernel).max() > 0


def test_a_layer_is_saved_with_what_it_preserves(tmp_path):
    layer = ROUNDED[layers.Dense](3, keep_zeros=True, clusters=3)
    train(layer, np.float32([[0, 1, 1]] * 2 + [[1, 0, -1]] * 2))
    model = keras.Sequential([keras.Input((4,)), layer])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    x = RNG.normal(size=(2, 4))
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.layers[0].keep_zeros
    assert isinstance(loaded.layers[0], layers.Dense)


def test_a_layer_computes_with_integers_in_inference():
    layer = ROUNDED[layers.Dense](3)
    x = np.float32(0.25) * RNG.integers(-99, 99, (8, 200)).astype("float32")
    layer(x)
    layer.settle()
    expected = np.asarray(layer(x), "float64")
    layer.read_steps_of(lambda: np.float32(0.25))
    unit = 0.25 * np.ravel(layer.scale())
    sums = np.asarray(layer(x)) / unit
    np.testing.assert_allclose(sums, expected / unit, atol=0.2)
    np.testing.assert_allclose(sums, np.round(sums), rtol=1e-6)
    layer.read_steps_of(lambda: np.float32(0.5))  # A layer on two inputs computes in float.
    np.testing.assert_array_equal(layer(x), np.float32(expected))


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (keras.layers.Conv2D, (1, 1, 1, 4)),
        (keras.layers.Conv2DTranspose, (1, 1, 4, 1)),
        (keras.layers.DepthwiseConv2D, (1, 1, 2, 2)),
    ],
)
def test_factors_are_powers_of_two_and_keep_the_kernel(kind, shape):
    channels = {"depth_multiplier": 2} if kind is keras.layers.DepthwiseConv2D else {"filters": 4}
    layer = ROUNDED[kind](kernel_size=3, has_factors=True, **channels)
    layer.build((None, 6, 6, 2))
    before = np.asarray(layer.used_kernel())
    layer.set_factors(np.array([0.3, -5.0, 1.1, 0.0]))
    np.testing.assert_array_equal(layer.factors, np.reshape([0.25, 4.0, 1.0, 1.0], shape))
    np.testing.assert_array_equal(layer.float_kernel * layer.factors, before)
    np.testing.assert_array_equal(layer.used_kernel(), before)
    layer.settle()
    np.testing.assert_allclose(layer.used_kernel(), before, rtol=3e-5)
