"""A range observes, rounds, and is trained and saved."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_kd.models.activation_range import (
    SIGMOID,
    ActivationRange,
    IntegerRounding,
    activation_ranges,
)
from keras_kd.models.kernel_arithmetic import float_rounding


def calibrated(*values, **kwargs):
    layer = ActivationRange(**kwargs)
    layer.observing = True
    for value in values:
        layer(np.asarray(value, "float32"))
    layer.observing = False
    layer.calibrate()
    return layer


def test_a_range_observes_all_values_and_zero_and_passes_them_on():
    layer = ActivationRange()
    layer.observing = True
    x = np.float32([[1.0, 3.0]])
    np.testing.assert_array_equal(layer(x), x)
    layer(np.float32([[2.0, 5.1]]))
    assert not layer.fixed
    np.testing.assert_array_equal(layer.observed, np.float32([0.0, 5.1]))


def test_zero_is_a_value_of_the_calibrated_range():
    layer = calibrated([-1.0, 1.0])
    low, high = np.asarray(layer.observed, "float64")
    assert high - low == pytest.approx(2.002, rel=2e-5)
    assert low / layer.step == pytest.approx(np.round(low / layer.step), abs=1e-4)


def test_values_are_rounded_to_steps_and_clipped():
    layer = calibrated([0.0, 255.0])
    rounded = layer(np.float32([-3.0, 1.4, 1.6, 300.0]))
    np.testing.assert_allclose(rounded, 1.001 * np.float32([0, 1, 2, 255]), rtol=2e-5)


def test_no_byte_of_an_image_is_halfway_between_two_steps():
    layer = calibrated([-1.0, 1.0])
    steps = (np.arange(256) / 127.5 - 1) / layer.step
    assert np.abs(steps % 1 - 0.5).min() > 1e-4


def test_the_ends_of_a_range_are_trained():
    layer = calibrated([-1.0, 2.0])
    assert [variable.path for variable in layer.trainable_variables] == [layer.factors.path]
    layer.factors.assign([0.0, np.log(2.0)])
    assert float(np.max(layer(np.float32([9.0])))) == pytest.approx(4.0, rel=0.01)


def test_a_fixed_range_has_no_weights():
    layer = ActivationRange(fixed=SIGMOID)
    assert layer.weights == []
    assert layer.is_calibrated
    np.testing.assert_array_equal(layer(np.float32([0.3, 2.0])), np.float32([77 / 256, 255 / 256]))


def test_a_new_range_is_not_calibrated():
    assert not ActivationRange().is_calibrated
    assert calibrated([1.0]).is_calibrated


def test_a_range_is_saved_and_found(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, calibrated([1.0, -2.0], name="range")(inputs))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    (layer,) = activation_ranges(loaded)
    assert layer.step == model.get_layer("range").step
    x = ops.ones((1, 2)) * 0.3
    np.testing.assert_array_equal(loaded(x), model(x))


def halves(**kwargs):
    """A model that adds halves of a step, which the kernel rounds up and the range to even."""
    inputs = keras.Input((4,))
    x = ActivationRange(name="in")(inputs)
    y = keras.layers.Add(name="sum")([x, x])
    y = IntegerRounding("sum", name="integers", **kwargs)([y, x, x])
    model = keras.Model(inputs, ActivationRange(name="out")(keras.layers.ReLU()(y)))
    model.get_layer("in").observed.assign([-128.0, 127.0])
    model.get_layer("out").observed.assign([0.0, 4 * 255.0])
    return model


X = np.float32([[1.0, 3.0, 5.0, -9.0]])  # Sums of 0.5, 1.5, 2.5 steps of the output.


def test_a_kernel_rounds_in_inference_only():
    model = halves()
    np.testing.assert_array_equal(model(X), np.float32([[4, 8, 12, 0]]))
    np.testing.assert_array_equal(model.predict(X, verbose=0), model(X))
    layer = model.get_layer("integers")
    x = 1.3 * ops.ones((1, 4))
    np.testing.assert_array_equal(layer([x, x, x], training=True), x)
    assert np.abs(np.asarray(layer([x, x, x])) - x).max() > 0
    with float_rounding():
        np.testing.assert_array_equal(layer([x, x, x]), x)
    model.get_layer("out").observing = True
    np.testing.assert_array_equal(layer([x, x, x]), x)


def test_a_kernel_is_found_again_in_a_saved_model(tmp_path):
    halves().save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    kernel = loaded.get_layer("integers").kernel
    assert kernel.layer is loaded.get_layer("sum")
    assert kernel.inputs == [loaded.get_layer("in")] * 2
    assert kernel.output is loaded.get_layer("out")
    np.testing.assert_array_equal(loaded(X), halves()(X))


def test_a_part_of_a_model_keeps_the_kernels_of_the_model():
    model = halves()
    kernel = model.get_layer("integers").kernel
    x = keras.Input((4,))
    model.get_layer("integers")([model.get_layer("sum")([x, x]), x, x])
    assert model.get_layer("integers").kernel is kernel


def test_rounding_passes_gradients_in_inference():
    tf = pytest.importorskip("tensorflow")
    model, x = halves(), tf.Variable(X)
    with tf.GradientTape() as tape:
        y = ops.sum(model(x))
    np.testing.assert_array_equal(tape.gradient(y, x), [[2.0, 2.0, 2.0, 0.0]])


def test_an_unknown_kernel_is_rejected():
    with pytest.raises(ValueError, match="Received: kind='sums'"):
        IntegerRounding("sums")
