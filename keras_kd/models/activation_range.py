"""Layers that round activations to the 8-bit values of a range, as an int8 file does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.models import kernel_arithmetic
from keras_kd.models.keras_compat import made_by, nested_layers

#: Number of steps between the smallest and the largest 8-bit value.
STEPS = 255
# Images scaled to [-1, 1] have 256 values, of which each would be halfway between two steps of a
# range with zero: Keras and LiteRT round these differently.
_WIDER = 1.001
#: The ranges that LiteRT prescribes for the output of an activation.
SIGMOID, TANH = (0.0, 255 / 256), (-1.0, 127 / 128)


@keras.saving.register_keras_serializable(package="keras_kd")
class ActivationRange(keras.layers.Identity):
    """Rounds its input to 256 values in a range, which is trained.

    The range starts at the values seen while `observing`, and is trained as the logarithm of a
    factor for each end: a step of an optimizer changes it by the same share whatever its size, and
    weight decay pulls it back to where it started. Zero is always one of the values.

    Args:
        fixed: `(lowest, highest)` of a range that is not trained. Defaults to `None`.
        **kwargs: As for `keras.layers.Layer`.
    """

    def __init__(self, fixed: tuple[float, float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fixed = None if fixed is None else tuple(fixed)
        #: Whether calls extend the range to their values instead of rounding them.
        self.observing = False

    def build(self, input_shape: Any = None) -> None:
        """Create the variables of the range."""
        if self.fixed is None:
            add = {"shape": (2,), "initializer": "zeros", "dtype": "float32"}
            self.observed = self.add_weight(name="observed", trainable=False, **add)
            self.factors = self.add_weight(name="factors", **add)

    def call(self, inputs: Any) -> Any:
        """Round a tensor."""
        if self.fixed is not None:
            low, high = self.fixed
        elif self.observing:
            return self._observe(inputs)
        else:
            low, high = self._ends()
        return keras.quantizers.fake_quant_with_min_max_vars(
            inputs, low, high, num_bits=8, narrow_range=False
        )

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return the input's shape and dtype, and note which kernel computes it."""
        maker, tensor = made_by(inputs)
        while isinstance(maker, keras.layers.Identity | keras.layers.ReLU):
            if isinstance(maker, IntegerRounding) and maker.kernel:
                maker.kernel.output = self
            maker, tensor = made_by(tensor[0])
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    @property
    def is_calibrated(self) -> bool:
        """Whether the range is known."""
        if self.fixed is not None or not self.built:
            return self.fixed is not None
        return bool(ops.convert_to_numpy(self.observed).any())

    @property
    def step(self) -> float:
        """The distance between two rounded values."""
        low, high = self.fixed or map(float, self._ends())
        return (high - low) / STEPS

    def read_step(self) -> Any:
        """Return the distance of two rounded values, `None` if values are not rounded yet."""
        return None if self.observing else self.grid()[0]

    def grid(self) -> tuple[Any, Any]:
        """Return the distance of two rounded values, and how many of them are below zero."""
        if self.fixed is not None:
            low, high = self.fixed
        else:
            low, high = self._ends()
        step = (high - low) / STEPS
        return step, ops.round(-low / step)

    def calibrate(self) -> None:
        """Move the observed range by less than a step, so that zero is one of its values."""
        if self.fixed is None:
            self._set_range(*ops.convert_to_numpy(self.observed).astype("float64"), _WIDER)

    def settle(self) -> None:
        """Move the trained range by less than a step, to ends that float32 numbers hold exactly."""
        if self.fixed is None:
            low, high = ops.convert_to_numpy(ops.stack(self._ends())).astype("float64")
            self._set_range(low, high)
            self.factors.assign([0.0, 0.0])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "fixed": self.fixed}

    def _set_range(self, low: float, high: float, wider: float = 1.0) -> None:
        step = kernel_arithmetic.short_number(wider * max(high - low, 1e-6) / STEPS)
        below = np.floor(-low / step + 0.5)
        self.observed.assign([-below * step, (STEPS - below) * step])

    def _ends(self) -> Any:
        return ops.unstack(self.observed * ops.exp(self.factors), 2)

    def _observe(self, inputs: Any) -> Any:
        low, high = ops.unstack(self.observed, 2)
        low, high = ops.minimum(low, ops.min(inputs)), ops.maximum(high, ops.max(inputs))
        self.observed.assign(ops.stack([low, high]))
        return inputs


@dataclass
class _Kernel:
    """What the arithmetic of a kernel depends on.

    Attributes:
        layer: The layer or operation that LiteRT runs as a kernel.
        inputs: The ranges of its inputs.
        size: How many values one value of a mean has.
        output: The range of its output.
    """

    layer: Any
    inputs: list[ActivationRange]
    size: float
    output: ActivationRange | None = None


@keras.saving.register_keras_serializable(package="keras_kd")
class IntegerRounding(keras.layers.Identity):
    """Rounds the output of a layer in inference exactly as LiteRT's kernel (XNNPACK) does.

    A kernel computes with integers. In float32, a value halfway between two steps can be on the
    other side, and deep networks enlarge the difference. In training, and if the ranges are not
    known, the output is returned unchanged.

    The layer is called with the output of a layer, and for a sum also with the two summands.

    Args:
        kind: The kind of the kernel, one of `KERNELS`.
        **kwargs: As for `keras.layers.Layer`.
    """

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.kernel: _Kernel | None = None

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Round a tensor to steps of its range, which clips it later."""
        output, *summands = inputs if isinstance(inputs, list | tuple) else [inputs]
        target = self.kernel and self.kernel.output
        if training or target is None or target.observing or not kernel_arithmetic.computes_in_integers():
            return output
        step, below = target.grid()
        units = [one.grid()[0] for one in self.kernel.inputs]
        return step * KERNELS[self.kind](self.kernel, output, summands, units, step, below)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the shape and dtype of the output, and note which kernel computes it."""
        output = inputs[0] if isinstance(inputs, list | tuple) else inputs
        layer, tensors = made_by(output)
        ranges = [] if self.kind == "float" else [_range_of(x) for x in tensors]
        known = None not in ranges and not (self.kind == "mean" and None in tensors[0].shape[1:])
        if layer is not None and known:  # Parts of a model keep what the model has.
            sizes = [np.prod(x.shape[1:]) for x in (*tensors[:1], output)]
            self.kernel = _Kernel(layer, ranges, sizes[0] / sizes[-1] if self.kind == "mean" else 1.0)
            if self.kind == "kernel":
                layer.read_steps_of(ranges[0].read_step)
        return keras.KerasTensor(output.shape, output.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "kind": self.kind}


def _range_of(tensor: keras.KerasTensor) -> ActivationRange | None:
    """Return the range whose values a tensor has, `None` if it is not in this graph."""
    maker, tensors = made_by(tensor)
    if isinstance(maker, ActivationRange) or not tensors:
        return maker if tensors else None
    return _range_of(tensors[0])


def _scale_kernel(kernel: _Kernel, x: Any, _: Any, units: Any, step: Any, below: Any) -> Any:
    scales = ops.reshape(kernel.layer.scale(), (-1,))
    return kernel_arithmetic.scale_sum(x, units[0] * scales, step)

#: How the output of each kind of kernel is rounded, in steps.
KERNELS: dict[str, Callable[..., Any]] = {
    "float": lambda kernel, x, rest, units, step, below: kernel_arithmetic.round_float(x, step),
    "kernel": _scale_kernel,
    "product": lambda kernel, x, rest, units, step, below: kernel_arithmetic.scale_sum(
        x, units[0] * units[1], step
    ),
    "mean": lambda kernel, x, rest, units, step, below: kernel_arithmetic.scale_sum(
        x, units[0] / kernel.size, step
    ),
    "sum": lambda kernel, x, rest, units, step, below: kernel_arithmetic.add(*rest, units, step),
    "difference": lambda kernel, x, rest, units, step, below: kernel_arithmetic.add(
        *rest, units, step, -1
    ),
    "average": lambda kernel, x, rest, units, step, below: kernel_arithmetic.average(
        x, step, below - 128
    ),
    "interpolation": lambda kernel, x, rest, units, step, below: kernel_arithmetic.interpolate(
        x, step
    ),
    "leak": lambda kernel, x, rest, units, step, below: kernel_arithmetic.leak(
        x, kernel.layer.negative_slope, units[0], step
    ),
}


def activation_ranges(model: keras.Model) -> list[ActivationRange]:
    """Return the ranges of a model from native quantization-aware training; else none."""
    return [layer for layer in nested_layers(model) if isinstance(layer, ActivationRange)]
