"""Ranges come from the data; biases become multiples of what LiteRT adds."""

import keras
import numpy as np
from keras import layers

from keras_kd.compression.qat.calibration import calibrate, settle
from keras_kd.compression.qat.quantize import Rounding, build_quantized
from keras_kd.models.activation_range import activation_ranges
from tests.compression.qat.students import cnn, samples, stack


def test_ranges_are_those_of_all_batches():
    model, _ = build_quantized(stack(layers.Flatten(), layers.Dense(3)), Rounding())
    first, *_ = activation_ranges(model)
    x = samples(model)
    x[20, 0, 0, 0] = 9.0
    calibrate(model, [x[:16], x[16:]])
    low, high = np.asarray(first.observed)
    assert abs(high - 9.0) <= first.step
    assert abs(low - x.min()) <= first.step
    assert not first.observing


def test_biases_are_rounded_to_the_product_of_both_steps():
    model, _ = build_quantized(cnn(), Rounding())
    x = samples(model)
    calibrate(model, [x])
    before = np.asarray(model(x))
    settle(model)
    layer = model.get_layer("logits_unrounded")
    step = model.get_layer("mean_range").step * np.ravel(layer.scale())
    multiples = np.asarray(layer.bias) / step
    np.testing.assert_allclose(multiples, np.round(multiples), atol=1e-2)
    assert np.abs(np.asarray(model(x)) - before).max() < 3 * model.get_layer("logits").step


def test_ranges_and_scales_become_exact_in_float32():
    model, _ = build_quantized(cnn(), Rounding())
    calibrate(model, [samples(model)])
    ranges = [layer for layer in activation_ranges(model) if layer.fixed is None]
    ranges[0].factors.assign([0.01, -0.02])
    settle(model)
    for layer in ranges:
        np.testing.assert_array_equal(layer.factors, 0)
        low, high = np.asarray(layer.observed, "float64")
        assert (high - low) / 255 == np.float32((high - low) / 255)
        assert low == -np.round(-low / layer.step) * layer.step
    layer = model.get_layer("conv")
    scale = np.ravel(layer.scale())
    largest = np.abs(layer.used_kernel()).max((0, 1, 2))
    np.testing.assert_array_equal(largest, np.float64(scale) * 127)


def test_equal_kernels_get_different_scales_and_keep_their_integers():
    """The converter would merge the layers; a kernel of zeros cannot differ."""
    twins = [layers.Dense(3, name=name) for name in ("one", "two", "three")]
    student = stack(layers.Flatten(), lambda x: [twin(x) for twin in twins])
    for twin in twins[1:]:
        twin.set_weights(twins[0].get_weights())
    student.layers[-1].kernel.assign(0 * twins[0].kernel)
    model, _ = build_quantized(student, Rounding())
    calibrate(model, [samples(model)])
    settle(model)
    one, two, three = (layer for layer in model.layers if isinstance(layer, layers.Dense))
    scales = [np.asarray(layer.scale()) for layer in (one, two)]
    assert (scales[0] < scales[1]).all()
    np.testing.assert_allclose(*scales, rtol=1e-4)
    kernels = [np.asarray(layer.used_kernel()) for layer in (one, two)]
    integers = [np.round(k / scale) for k, scale in zip(kernels, scales, strict=True)]
    np.testing.assert_array_equal(*integers)
    assert not np.asarray(three.used_kernel()).any()


def test_the_steps_of_means_are_clear_also_behind_each_other():
    student = stack(
        lambda x: keras.ops.mean(x, axis=2),
        lambda x: keras.ops.mean(x, axis=1),
        layers.Dense(3),
        shape=(32, 64, 3),
    )
    model, _ = build_quantized(student, Rounding())
    calibrate(model, [samples(model)])
    settle(model)
    steps = [layer.step for layer in activation_ranges(model)[:3]]
    for before, after, size in zip(steps, steps[1:], (64, 32), strict=False):
        parts = np.arange(int(256 * after / before * size)) * before / size / after % 1
        assert np.abs(parts - 0.5).min() > 2**-14
