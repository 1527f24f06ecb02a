"""Kernels round as integers do, compared with the arithmetic in Python's integers and fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from keras_kd.models import kernel_arithmetic as arithmetic

RNG = np.random.default_rng(0)
STEP = np.float32(3 / 64)


def test_integers_are_scaled_by_one_number_and_halves_are_rounded_to_even():
    unit = np.float32(1 / 64)
    integers = np.arange(-40_000, 40_000).astype("float32")
    found = arithmetic.scale_integers(integers * unit * (1 + 1e-7), unit, np.float32(1 / 32))
    np.testing.assert_array_equal(found, np.round(integers / 2))


def test_divisions_are_exact_in_compiled_graphs():
    tf = pytest.importorskip("tensorflow")
    x = np.append(RNG.uniform(0, 10, 1000), 0.0).astype("float32")
    expected = np.append(x[:-1] / np.float32(255), 1.0)
    for jit in (False, True):
        divide = tf.function(lambda x: arithmetic.divide(x, 255), jit_compile=jit)
        np.testing.assert_array_equal(divide(x), expected)


def test_floats_are_multiplied_by_the_inverse_of_the_step():
    x = RNG.normal(size=1000).astype("float32")
    expected = np.round(x * (np.float32(1) / STEP))
    np.testing.assert_array_equal(arithmetic.quantize(x, STEP), expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_have_factors_of_21_bits_and_halves_are_rounded_up(sign):
    steps = np.float32(0.013), np.float32(0.0021)
    numbers = RNG.integers(-255, 256, (2, 2000))
    values = [n.astype("float32") * step for n, step in zip(numbers, steps, strict=True)]
    shift = 20 - floor(np.log2(steps[0] / STEP))
    a, b = (round(float(step / STEP) * 2**shift) for step in steps)
    expected = [(int(x) * a + sign * int(y) * b + (1 << shift - 1)) >> shift for x, y in numbers.T]
    np.testing.assert_array_equal(arithmetic.add(*values, steps, STEP, sign), expected)


def test_averages_round_halves_away_from_the_zero_byte():
    sums = np.arange(-400, 400)
    for zero in (-128, 5):
        found = np.asarray(arithmetic.average(sums.astype("float32") / 4 * STEP, STEP, zero))
        raw = [Fraction(int(total), 4) + zero for total in sums]
        rounded = [floor(abs(x) + Fraction(1, 2)) * (1 if x > 0 else -1) - zero for x in raw]
        np.testing.assert_array_equal(found, rounded)


def test_interpolated_halves_are_rounded_up():
    x = np.arange(-64, 64).astype("float32")
    expected = [floor(Fraction(int(i), 16) + Fraction(1, 2)) for i in x]
    np.testing.assert_array_equal(arithmetic.interpolate(x / 16 * STEP, STEP), expected)


def test_a_leaky_relu_multiplies_by_parts_of_256():
    n = np.arange(-128, 128)
    x, step = n.astype("float32") * STEP, np.float32(0.031)
    factors = np.where(n >= 0, round(256 * float(STEP / step)), round(256 * 0.2 * STEP / step))
    found = arithmetic.leak(np.where(x >= 0, x, 0.2 * x), 0.2, STEP, step)
    np.testing.assert_array_equal(found, (n * factors + 128) >> 8)


def test_hard_swish_is_within_a_step_of_the_function():
    x = np.arange(-128, 128).astype("float32") * STEP
    step = np.float32(0.025)
    expected = x * np.clip(x + 3, 0, 6) / 6 / step
    found = np.asarray(arithmetic.hard_swish(x, STEP, step))
    assert np.abs(found - expected).max() < 0.52
    np.testing.assert_array_equal(found, np.round(found))


def test_a_value_is_replaced_exactly():
    x = RNG.normal(size=1000).astype("float32")
    np.testing.assert_array_equal(arithmetic.replace_value(x, x[::-1]), x[::-1])


def test_exactness_ends_within_a_block():
    assert arithmetic.is_exact()
    with arithmetic.float_rounding():
        assert not arithmetic.is_exact()
    assert arithmetic.is_exact()


def test_short_numbers_are_larger_and_their_products_exact():
    numbers = RNG.uniform(1e-6, 10, 1000)
    short = arithmetic.short_number(numbers)
    assert (short >= numbers).all()
    assert (short / numbers - 1).max() < 2**-15
    for factor in (127, 255):
        np.testing.assert_array_equal(np.float32(short) * np.float32(factor), short * factor)


@pytest.mark.parametrize("size", [4, 49, 256, 3136])
def test_all_ways_to_scale_the_sum_of_a_mean_round_it_equally_in_a_clear_step(size):
    before = np.float32(arithmetic.short_number(0.0123))
    step = float(arithmetic.short_number(0.00731))
    clear = arithmetic.clear_step(step, [before / size])
    assert 1 <= clear / step < 1.02
    after, count, one = np.float32(clear), np.float32(size), np.float32(1)
    np.testing.assert_array_equal(after * np.float32(255), clear * 255)
    sums = np.arange(int(256 * clear / before * size)).astype("float32")
    expected = np.round(sums.astype("float64") * float(before) / size / clear)
    for found in (
        sums * (before / (after * count)),
        sums * (before / after / count),
        sums * before * (one / count) * (one / after),
        (sums / count) * (before / after),
        sums * (before / count) / after,
    ):
        np.testing.assert_array_equal(np.round(found), expected)


def test_a_clear_step_is_clear_for_all_of_its_means():
    units = [0.01 / 49, 0.02 / 64]
    clear = arithmetic.clear_step(float(arithmetic.short_number(0.004)), units)
    for unit in units:
        parts = np.arange(int(256 * clear / unit)) * unit / clear % 1
        assert np.abs(parts - 0.5).min() > 2**-14


def test_the_step_of_a_mean_of_very_many_numbers_is_the_clearest():
    step = float(arithmetic.short_number(0.01))
    assert 1 <= arithmetic.clear_step(step, [0.01 / 50_000]) / step < 1.02
