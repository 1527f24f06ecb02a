"""Outputs of layers, rounded by the integer arithmetic of LiteRT's kernels (XNNPACK).

A function here takes the output of a layer in float32, from rounded inputs, and returns it in
steps of the rounded output, as whole numbers. Values of rounded tensors are whole numbers times a
step; from them, the integer that a kernel has summed up is found, and scaled as the kernel does.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
from keras import ops

#: Sums of whole numbers times fractions are off by less than this, which no kernel's fractions are.
_NOISE = 1e-3
#: Bits of the integer factors with which sums are scaled.
_BITS = 20
# Bits of a step: products with 8-bit integers are then exact in float32.
_STEP_BITS = 16
# Values up to 256 are off by less than this after four roundings in float32.
_FLOAT_NOISE = 2.0**-14
# By how much a step may grow.
_GROWTH = 1.02
_EXACT = ContextVar("exact", default=True)


def divide(value: Any, number: float) -> Any:
    """Return positive values divided by a number, and 1 for values of zero.

    Compilers replace the division by a constant by a product, which is not exact.
    """
    known = value > 0
    return ops.where(known, value, 1.0) / ops.where(known, float(number), 1.0)


def replace_value(value: Any, by: Any) -> Any:
    """Return exactly the tensor `by`, with the gradient of `value`."""

    @ops.custom_gradient
    def replace(value: Any, by: Any) -> tuple[Any, Any]:
        def gradient(*received: Any, upstream: Any = None) -> tuple[Any, Any]:
            upstream = received[0] if upstream is None else upstream
            return upstream, ops.zeros_like(upstream)

        return by, gradient

    return replace(value, by)


def scale_integers(values: Any, unit: Any, step: Any) -> Any:
    """Return values that are integers times `unit` in steps.

    Args:
        values: The values.
        unit: What one integer is worth: a product of steps, or one per channel.
        step: The step of the rounded values.
    """
    return ops.round(ops.round(values / unit) * (unit / step))


def quantize(values: Any, step: Any) -> Any:
    """Return float values in steps."""
    return ops.round(values * (1.0 / step))


def add(first: Any, second: Any, steps: Sequence[Any], step: Any, sign: int = 1) -> Any:
    """Return the sum or difference of two rounded tensors in steps.

    Args:
        first: The first tensor.
        second: The second tensor.
        steps: The steps of the two.
        step: The step of the rounded sum.
        sign: 1 for a sum, -1 for a difference. Defaults to 1.
    """
    scales = [one / step for one in steps]
    exponent = ops.floor(ops.log2(ops.maximum(*scales)))
    power = 2.0 ** (_BITS - exponent)
    factors = [_integers(scale * power) for scale in scales]
    terms = [
        _integers(x / one) * factor
        for x, one, factor in zip((first, second), steps, factors, strict=True)
    ]
    shift = ops.cast(_BITS - exponent, "int32")
    half = ops.left_shift(ops.ones_like(shift), shift - 1)
    total = terms[0] + sign * terms[1] + half
    return ops.cast(ops.right_shift(total, shift), "float32")


def average(values: Any, step: Any, zero: Any) -> Any:
    """Return means of neighbors in their own steps: halves are rounded away from the zero byte.

    Args:
        values: The means.
        step: The step of the rounded tensor.
        zero: The byte that stands for 0.0.
    """
    raw = values / step + zero
    return ops.sign(raw) * ops.floor(ops.abs(raw) + 0.5 + _NOISE) - zero


def interpolate(values: Any, step: Any) -> Any:
    """Return interpolated values in their own steps: halves are rounded up."""
    return ops.floor(values / step + 0.5 + _NOISE)


def leak(values: Any, slope: float, step_in: Any, step: Any) -> Any:
    """Return the output of a leaky ReLU in steps: it is scaled by multiples of 1/256.

    Args:
        values: The output.
        slope: The slope for negative inputs.
        step_in: The step of the input.
        step: The step of the rounded output.
    """
    scale = step_in / step
    factors = ops.round(256.0 * scale), ops.round(256.0 * (scale * slope))
    positive = ops.round(values / step_in) * factors[0]
    negative = ops.round(values / (slope * step_in)) * factors[1]
    return ops.floor((ops.where(values >= 0, positive, negative) + 128.0) / 256.0)


def hard_swish(values: Any, step_in: Any, step: Any) -> Any:
    """Return `x * relu6(x + 3) / 6` in steps, of which 16-bit numbers are multiplied.

    Args:
        values: The input x.
        step_in: The step of the input.
        step: The step of the rounded output.
    """
    x = _integers(values / step_in) * 128
    factor, shift = _multiplier(step_in / 128.0 / step)
    scaled = _multiply(x, factor)
    factor, left = _multiplier(step_in / 128.0 / (3.0 / 32768.0))
    gate = _saturate(x * 2 ** ops.maximum(left - 1, 0))
    gate = _multiply(gate, factor)
    gate = _saturate(gate * 2 ** ops.clip(left, 0, 1))
    gate = _divide_rounded(gate, ops.maximum(-left, 0))
    gate = ops.right_shift(gate + 32768, 1)
    product = gate * scaled
    product = ops.sign(product) * ops.right_shift(ops.abs(product), 15)
    return ops.cast(_divide_rounded(product, -shift), "float32")


def _multiplier(value: Any) -> tuple[Any, Any]:
    """Return the mantissa of a number as a 16-bit integer, and its exponent."""
    exponent = ops.floor(ops.log2(value)) + 1
    return _integers(value / 2.0**exponent * 2**15), ops.cast(exponent, "int32")


def _multiply(value: Any, factor: Any) -> Any:
    return ops.right_shift(value * factor + 2**14, 15)


def _saturate(value: Any) -> Any:
    return ops.clip(value, -(2**15), 2**15 - 1)


def _divide_rounded(value: Any, shift: Any) -> Any:
    """Return integers divided by a power of two; halves are rounded away from zero."""
    half = ops.right_shift(ops.left_shift(ops.ones_like(shift), shift), 1)
    return ops.sign(value) * ops.right_shift(ops.abs(value) + half, shift)


def _integers(values: Any) -> Any:
    return ops.cast(ops.round(values), "int32")


@contextlib.contextmanager
def float_rounding() -> Iterator[None]:
    """Round outputs without the arithmetic of integers, as the converter must see a model."""
    token = _EXACT.set(False)
    try:
        yield
    finally:
        _EXACT.reset(token)


def is_exact() -> bool:
    """Return whether layers compute with integers in inference."""
    return _EXACT.get()


def short_number(value: Any) -> Any:
    """Return numbers rounded up to so few bits that products with 8-bit integers are exact."""
    fraction, exponent = np.frexp(value)
    return np.ldexp(np.ceil(fraction * 2**_STEP_BITS) / 2**_STEP_BITS, exponent)


def clear_step(step: float, units: Sequence[float]) -> float:
    """Return a step in which no multiple of a unit is near the middle between two values.

    How XNNPACK scales the sum of a mean is not known to the last bit. In such a step, which is a
    short number and at most 2 % larger, all ways round to the same value. If there is none, as for
    means of more than 10,000 numbers, the step is the one in which the nearest multiple is farthest
    away.

    Args:
        step: A short number.
        units: What one integer is worth, for each kernel that rounds to this step.
    """
    fraction, exponent = np.frexp(step)
    first = int(fraction * 2**_STEP_BITS)
    candidates = np.ldexp(np.arange(first, int(first * _GROWTH)) / 2**_STEP_BITS, exponent)
    halves = np.arange(256) + 0.5
    nearest = np.full(len(candidates), np.inf)
    for unit in units:
        factors = unit / candidates
        integers = halves / factors[:, None]
        distances = np.abs(integers - np.round(integers)).min(1) * factors
        nearest = np.minimum(nearest, distances)
    clear = nearest > _FLOAT_NOISE
    return float(candidates[clear.argmax() if clear.any() else nearest.argmax()])
