"""A layer that rounds activations to the 8-bit values of a range, as an int8 file does."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.models.keras_compat import nested_layers

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
        """Return the input's shape and dtype."""
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

    def calibrate(self) -> None:
        """Move the observed range by less than a step, so that zero is one of its values."""
        if self.fixed is None:
            low, high = ops.convert_to_numpy(self.observed).astype("float64")
            step = _WIDER * max(high - low, 1e-6) / STEPS
            below = np.floor(-low / step + 0.5)
            self.observed.assign([-below * step, (STEPS - below) * step])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "fixed": self.fixed}

    def _ends(self) -> Any:
        return ops.unstack(self.observed * ops.exp(self.factors), 2)

    def _observe(self, inputs: Any) -> Any:
        low, high = ops.unstack(self.observed, 2)
        low, high = ops.minimum(low, ops.min(inputs)), ops.maximum(high, ops.max(inputs))
        self.observed.assign(ops.stack([low, high]))
        return inputs


def activation_ranges(model: keras.Model) -> list[ActivationRange]:
    """Return the ranges of a model from native quantization-aware training; else none."""
    return [layer for layer in nested_layers(model) if isinstance(layer, ActivationRange)]
