"""Keras layers that compute with kernels rounded as in an int8 file."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.models.keras_compat import nested_layers
from keras_kd.models.kernel_arithmetic import divide, is_exact, replace_value, short_number

#: More than the distance of two settled scales.
_GROWTH = 1 + 2**-14


def kernel_scale(kernel: Any, axes: tuple[int, ...], bits: int = 8) -> Any:
    """Return the distance of two rounded weights, in a symmetric range.

    Args:
        kernel: The weights.
        axes: The axes that share a scale; the others have one scale per channel.
        bits: Bits per weight. Defaults to 8.
    """
    limit = 2 ** (bits - 1) - 1
    largest = ops.max(ops.abs(kernel), axis=axes, keepdims=True)
    return divide(largest, limit)


def round_kernel(kernel: Any, axes: tuple[int, ...], bits: int = 8) -> Any:
    """Return a kernel rounded by `kernel_scale`, with the gradient of the kernel itself."""
    scale = kernel_scale(kernel, axes, bits)
    return replace_value(kernel, ops.round(kernel / scale) * scale)


def _round(x: Any) -> Any:
    return replace_value(x, ops.round(x))


class RoundedKernel:
    """Mixin for a Keras layer with one kernel, which its `call` rounds.

    Args:
        *args: As for the layer.
        bits: Bits per weight. Defaults to 8.
        keep_zeros: Whether weights that are zero when `preserve` is called stay zero. Defaults to
            `False`.
        clusters: Number of values that the weights take, or `None` for any. Defaults to `None`.
        per_tensor: Whether all weights share a scale, as those of dense layers can. Defaults to
            `False`.
        has_factors: Whether the variable is multiplied by a power of two per channel. The kernel
            of a folded normalization is trained in its size before the folding, for which the
            learning rate was chosen. Defaults to `False`.
        **kwargs: As for the layer.
    """

    #: The name of the kernel.
    kernel_name = "kernel"

    def __init__(
        self,
        *args: Any,
        bits: int = 8,
        keep_zeros: bool = False,
        clusters: int | None = None,
        per_tensor: bool = False,
        has_factors: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.bits = bits
        self.keep_zeros = keep_zeros
        self.clusters = clusters
        self.per_tensor = per_tensor
        self.has_factors = has_factors
        self._steps: list[Callable[[], Any]] = []

    def build(self, input_shape: Any) -> None:
        """Create the weights."""
        super().build(input_shape)
        kernel = self.float_kernel
        if self.has_factors:
            shape = [1 if i in self.shared_axes else size for i, size in enumerate(kernel.shape)]
            self.factors = self.add_weight(
                name="factors", shape=shape, initializer="ones", trainable=False
            )
        if self.keep_zeros:
            self.mask = self.add_weight(
                name="mask", shape=kernel.shape, initializer="ones", trainable=False
            )
        if self.clusters:
            self.values = self.add_weight(name="values", shape=(self.clusters,))
            self.members = self.add_weight(
                name="members",
                shape=kernel.shape,
                initializer="zeros",
                dtype="int32",
                trainable=False,
            )
            kernel.trainable = False

    @property
    def float_kernel(self) -> keras.Variable:
        """The variable of the kernel before the rounding."""
        return getattr(self, self.kernel_name)

    @property
    def float_weights(self) -> list[keras.Variable]:
        """The weights that the layer has without rounding, in their order."""
        own = ("mask", "values", "members", "factors")
        return [weight for weight in self.weights if weight.name not in own]

    @property
    def shared_axes(self) -> tuple[int, ...]:
        """The axes of the kernel over which the weights of one output channel lie."""
        return tuple(range(len(self.float_kernel.shape) - 1))

    @property
    def scale_axes(self) -> tuple[int, ...]:
        """The axes of the kernel that share a scale in LiteRT."""
        rank = len(self.float_kernel.shape)
        return tuple(range(rank)) if self.per_tensor else self.shared_axes

    def set_factors(self, scales: np.ndarray) -> None:
        """Keep the kernel, and train it divided by powers of two near the scales of channels."""
        nonzero = np.where(scales == 0, 1.0, np.abs(scales))
        factors = np.exp2(np.round(np.log2(nonzero))).reshape(self.factors.shape)
        self.factors.assign(factors)
        self.float_kernel.assign(ops.convert_to_numpy(self.float_kernel) / factors)

    def preserve(self) -> None:
        """Take over which weights are zero, and which are equal, from the kernel."""
        kernel = ops.convert_to_numpy(self.float_kernel)
        if self.keep_zeros:
            self.mask.assign((kernel != 0).astype("float32"))
        if self.clusters:
            values, members = np.unique(kernel, return_inverse=True)
            self.values.assign(values)
            self.members.assign(members.reshape(kernel.shape))

    def used_kernel(self) -> Any:
        """Return the kernel that is rounded."""
        kernel = ops.take(self.values, self.members) if self.clusters else self.float_kernel
        kernel = kernel * self.factors if self.has_factors else kernel
        return kernel * self.mask if self.keep_zeros else ops.copy(kernel)

    def scale(self) -> Any:
        """Return the distance of two rounded weights, per channel or of all."""
        return kernel_scale(self.used_kernel(), self.scale_axes, self.bits)

    def settle(self) -> None:
        """Change the kernel by less than 2e-5 of it, so that float32 holds its scales exactly."""
        if self.clusters:
            return
        kernel = ops.convert_to_numpy(self.used_kernel()).astype("float64")
        scale = ops.convert_to_numpy(self.scale()).astype("float64")
        limit, target = 2 ** (self.bits - 1) - 1, short_number(scale)
        steps = np.clip(kernel / scale, -limit, limit)
        largest = np.abs(steps) > limit * (1 - 1e-6)
        settled = np.where(largest, np.sign(steps) * limit, steps) * target
        factors = ops.convert_to_numpy(self.factors) if self.has_factors else 1.0
        self.float_kernel.assign(settled / factors)

    def grow(self) -> None:
        """Enlarge a settled kernel by 6e-5 of it, so that its scales are others."""
        variable = self.values if self.clusters else self.float_kernel
        variable.assign(variable * _GROWTH)
        self.settle()

    @property
    def has_bias(self) -> bool:
        """Whether the layer adds a bias."""
        return self.kernel_name == "kernel" and self.use_bias

    def read_steps_of(self, step: Callable[[], Any]) -> None:
        """Compute with integers in inference, if all inputs are multiples of one step.

        Args:
            step: Returns the step of an input. A layer that is called on several inputs gets
                several of these, and computes in float32.
        """
        if step not in self._steps:
            self._steps.append(step)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Run the layer with its rounded kernel."""
        if len(self._steps) == 1 and not training and is_exact():
            step = self._steps[0]()
            if step is not None:
                return self._call_in_integers(inputs, step)
        kernel = round_kernel(self.used_kernel(), self.scale_axes, self.bits)
        return self._call_with([(self.float_kernel, kernel)], inputs)

    def _call_in_integers(self, inputs: Any, step: Any) -> Any:
        """Run the layer on whole numbers, of which float32 holds the sums exactly."""
        scale = self.scale()
        unit = step * ops.reshape(scale, (-1,))
        values = [(self.float_kernel, _round(self.used_kernel() / scale))]
        if self.has_bias:
            values.append((self.bias, _round(self.bias / unit)))
        return self._call_with(values, inputs / step) * unit

    def _call_with(self, values: list[tuple[keras.Variable, Any]], inputs: Any) -> Any:
        others = [(variable, ops.copy(variable)) for variable in self.variables]
        with keras.StatelessScope(state_mapping=[*others, *values]):
            return super().call(inputs)

    def save_own_variables(self, store: Any) -> None:
        """Save all weights; layers of Keras only save those that they know."""
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Load all weights."""
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = ("bits", "keep_zeros", "clusters", "per_tensor", "has_factors")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


class _PerTensor(RoundedKernel):
    kernel_name = "embeddings"
    scale_axes = (0, 1)


class _Depthwise(RoundedKernel):
    @property
    def shared_axes(self) -> tuple[int, ...]:
        return tuple(range(len(self.float_kernel.shape) - 2))


class _Transposed(RoundedKernel):
    @property
    def shared_axes(self) -> tuple[int, ...]:
        rank = len(self.float_kernel.shape)
        return (*range(rank - 2), rank - 1)


_MIXINS = {
    keras.layers.Conv1D: RoundedKernel,
    keras.layers.Conv1DTranspose: _Transposed,
    keras.layers.Conv2D: RoundedKernel,
    keras.layers.Conv2DTranspose: _Transposed,
    keras.layers.Dense: RoundedKernel,
    keras.layers.DepthwiseConv1D: _Depthwise,
    keras.layers.DepthwiseConv2D: _Depthwise,
    keras.layers.Embedding: _PerTensor,
}


def _rounded(layer: type, mixin: type) -> type:
    name = f"Rounded{layer.__name__}"
    made = type(name, (mixin, layer), {"__module__": __name__, "__doc__": mixin.__doc__})
    return keras.saving.register_keras_serializable(package="keras_kd")(made)


def has_dense_scales(model: keras.Model) -> bool:
    """Return whether dense layers of a model have one scale per channel, or there are none."""
    layers = [layer for layer in nested_layers(model) if isinstance(layer, RoundedKernel)]
    return not any(layer.per_tensor for layer in layers)


def has_four_bits(model: keras.Model) -> bool:
    """Return whether a model has a layer with weights of 4 bits."""
    layers = [layer for layer in nested_layers(model) if isinstance(layer, RoundedKernel)]
    return any(layer.bits == 4 for layer in layers)


#: The rounded layer of each Keras layer.
ROUNDED = {layer: _rounded(layer, mixin) for layer, mixin in _MIXINS.items()}
globals().update({layer.__name__: layer for layer in ROUNDED.values()})
