"""Layers that round activations to the 8-bit values of a range, as an int8 file does."""

from collections.abc import Sequence
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
#: What the kernels compute whose arithmetic is known.
KERNELS = ("float", "kernel", "product", "mean", "sum", "difference", "average", "interpolation")
KERNELS += ("hard_swish", "leak")
#: Those that are computed from the inputs of the layer.
NEED_OPERANDS = ("sum", "difference", "hard_swish")
#: The ranges that LiteRT prescribes for the output of an activation.
SIGMOID, TANH = (0.0, 255 / 256), (-1.0, 127 / 128)
# Added to a tensor, it changes no float but zero; a sum with zero would be optimized away.
_NOTHING = 1e-30


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
            return (high - low) / STEPS, round(-low / (high - low) * STEPS)
        low, high = self._ends()
        step = kernel_arithmetic.divide(high - low, STEPS)
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

    def settle_means(self, units: Sequence[float]) -> None:
        """Widen the settled range so that the rounding of means does not depend on the kernel.

        Args:
            units: What one integer in the sum of a mean is worth, for each mean in this range.
        """
        if self.fixed is None:
            low, _ = ops.convert_to_numpy(self.observed).astype("float64")
            self._set_step(kernel_arithmetic.clear_step(self.step, units), low)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "fixed": self.fixed}

    def _set_range(self, low: float, high: float, wider: float = 1.0) -> None:
        step = kernel_arithmetic.short_number(wider * max(high - low, 1e-6) / STEPS)
        self._set_step(step, low)

    def _set_step(self, step: float, low: float) -> None:
        below = np.floor(-low / step + 0.5)
        self.observed.assign([-below * step, (STEPS - below) * step])

    def _ends(self) -> Any:
        return ops.unstack(self.observed * ops.exp(self.factors), 2)

    def _observe(self, inputs: Any) -> Any:
        low, high = ops.unstack(ops.convert_to_tensor(self.observed), 2)
        low, high = ops.minimum(low, ops.min(inputs)), ops.maximum(high, ops.max(inputs))
        self.observed.assign(ops.stack([low, high]))
        return inputs


@keras.saving.register_keras_serializable(package="keras_kd")
class FloatBarrier(keras.layers.Layer):
    """Returns its input, with its mask, so that LiteRT runs the next layer or the last in float."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Return the input."""
        return inputs + _NOTHING


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
    """Rounds the output of a layer in inference exactly as LiteRT's kernel does.

    Kernels compute with integers. Computed in float32, a value that is almost halfway between two
    steps can be rounded to the other one, and deep networks enlarge the difference. In training,
    and while the ranges are not known, the output is returned unchanged.

    It is called with the output of a layer, for those in `NEED_OPERANDS` with a list of the output
    and the inputs of the layer.

    Args:
        kind: What the layer computes, one of `KERNELS`.
        constant: The number that it adds to, subtracts from or multiplies with a tensor. Defaults
            to `None`, for other layers.
        **kwargs: As for `keras.layers.Layer`.

    Raises:
        ValueError: If `kind` is unknown.
    """

    def __init__(self, kind: str, constant: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in KERNELS:
            raise ValueError(f"Expected a kind of {KERNELS}. Received: kind={kind!r}. Choose one.")
        self.kind = kind
        self.constant = constant
        self.kernel: _Kernel | None = None

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Round a tensor to steps of its range, which clips it later."""
        output, *operands = inputs if isinstance(inputs, list | tuple) else [inputs]
        target = self.kernel and self.kernel.output
        if training or target is None or target.observing or not kernel_arithmetic.is_exact():
            return output
        step, below = target.grid()
        exact = step * self._round(output, operands, step, below)
        return kernel_arithmetic.replace_value(output, exact)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the shape and dtype of the output, and note which kernel computes it."""
        output = inputs[0] if isinstance(inputs, list | tuple) else inputs
        layer, tensors = made_by(output)
        ranges = [] if self.kind == "float" else [_range_of(x) for x in tensors]
        sizes = [x.shape[1:] for x in (*tensors[:1], output)] if self.kind == "mean" else [(), ()]
        # Parts of a model keep what the model has.
        if layer is not None and None not in (*ranges, *sizes[0]):
            self.kernel = _Kernel(layer, ranges, np.prod(sizes[0]) / np.prod(sizes[-1]))
            if self.kind == "kernel":
                layer.read_steps_of(ranges[0].read_step)
        return keras.KerasTensor(output.shape, output.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "kind": self.kind, "constant": self.constant}

    def _round(self, x: Any, operands: list[Any], step: Any, below: Any) -> Any:
        """Return the output of the kernel in steps."""
        layer, steps = self.kernel.layer, [one.grid()[0] for one in self.kernel.inputs]
        if self.constant is not None:  # LiteRT stores it as 255 steps.
            operands = [*operands, np.float32(self.constant)]
            steps.append(np.float32(abs(self.constant) / STEPS))
        match self.kind:
            case "float":
                rounded = kernel_arithmetic.quantize(x, step)
            case "kernel":
                unit = steps[0] * ops.reshape(layer.scale(), (-1,))
                rounded = kernel_arithmetic.scale_integers(x, unit, step)
            case "product":
                rounded = kernel_arithmetic.scale_integers(x, steps[0] * steps[1], step)
            case "mean":
                rounded = kernel_arithmetic.scale_integers(x, steps[0] / self.kernel.size, step)
            case "sum" | "difference":
                sign = 1 if self.kind == "sum" else -1
                rounded = kernel_arithmetic.add(*operands, steps, step, sign)
            case "average":
                rounded = kernel_arithmetic.average(x, step, below - 128)
            case "interpolation":
                rounded = kernel_arithmetic.interpolate(x, step)
            case "hard_swish":
                rounded = kernel_arithmetic.hard_swish(*operands, *steps, step)
            case _:
                rounded = kernel_arithmetic.leak(x, layer.negative_slope, *steps, step)
        return rounded


def _range_of(tensor: keras.KerasTensor) -> ActivationRange | None:
    """Return the range whose values a tensor has, `None` if it is not in this graph."""
    maker, tensors = made_by(tensor)
    if isinstance(maker, ActivationRange) or not tensors:
        return maker if tensors else None
    return _range_of(tensors[0])


def activation_ranges(model: keras.Model) -> list[ActivationRange]:
    """Return the ranges of a model from native quantization-aware training; else none."""
    return [layer for layer in nested_layers(model) if isinstance(layer, ActivationRange)]
