"""How LiteRT runs each primitive layer in 8 bits: in which range its output is."""

from typing import Any

import keras
import numpy as np

from keras_kd.models.activation_range import SIGMOID, TANH
from keras_kd.models.graph import Call
from keras_kd.models.keras_compat import get_mask
from keras_kd.models.rounded_layers import ROUNDED

#: In front of the quantized part, these layers only prepare the input.
PREPROCESSING = tuple(
    getattr(keras.layers, name)
    for name in dir(keras.layers)
    if name in ("CenterCrop", "Normalization", "Rescaling", "Resizing") or name.startswith("Random")
)
_layers = keras.layers
# The output has the values of the input.
_PASSING = (
    *(_layers.Reshape, _layers.Flatten, _layers.Permute, _layers.RepeatVector, _layers.Identity),
    *(_layers.ZeroPadding1D, _layers.ZeroPadding2D, _layers.Cropping1D, _layers.Cropping2D),
    *(_layers.MaxPooling1D, _layers.MaxPooling2D, _layers.UpSampling1D),
    *(_layers.GlobalMaxPooling1D, _layers.GlobalMaxPooling2D),
    *(_layers.Dropout, _layers.SpatialDropout1D, _layers.SpatialDropout2D),
    *(_layers.GaussianDropout, _layers.GaussianNoise, _layers.AlphaDropout),
    *(_layers.ActivityRegularization,),
)
_PASSING_OPS = (
    *("Reshape", "Squeeze", "ExpandDims", "Transpose", "GetItem", "Identity", "Split", "Unstack"),
    *("Swapaxes", "Moveaxis", "Copy"),
)
# The output is rounded in the range of the input.
_SAME = (_layers.AveragePooling1D, _layers.AveragePooling2D)
# All inputs and the output have one range.
_SHARED = (_layers.Concatenate, _layers.Maximum, _layers.Minimum)
_SHARED_OPS = ("Concatenate", "Stack")
_COMPUTING = (
    *(_layers.Add, _layers.Subtract, _layers.Multiply, _layers.ReLU, _layers.LeakyReLU),
    _layers.GlobalAveragePooling2D,
)
_COMPUTING_OPS = ("Add", "Subtract", "Multiply", "Mean", "LeakyRelu", "Gelu", "HardSilu")
_COMPUTING_ACTIVATIONS = (
    keras.activations.gelu,
    keras.activations.hard_silu,
    keras.activations.leaky_relu,
)
_FIXED = {keras.activations.sigmoid: SIGMOID, keras.activations.softmax: SIGMOID}
_FIXED |= {keras.activations.tanh: TANH}
_FIXED_OPS = {"Sigmoid": SIGMOID, "Softmax": SIGMOID, "Tanh": TANH}
#: Layers with which LiteRT runs a ReLU in one op.
_FUSING = (*ROUNDED, _layers.Add, _layers.Subtract, _layers.Multiply)
_FUSING_OPS = ("Add", "Subtract", "Multiply")
_OF_TWO = ("sum", "difference", "product")

# What the kernels of layers compute (see `IntegerRounding`).
_KERNELS = {
    **{layer: "kernel" for layer in ROUNDED if layer is not _layers.Embedding},
    _layers.Add: "sum",
    _layers.AveragePooling1D: "average",
    _layers.AveragePooling2D: "average",
    _layers.GlobalAveragePooling1D: "mean",
    _layers.GlobalAveragePooling2D: "mean",
    _layers.LeakyReLU: "leak",
    _layers.Multiply: "product",
    _layers.Rescaling: "product",
    _layers.Subtract: "difference",
    _layers.UpSampling2D: "interpolation",
}
_KERNELS_OF_OPS = {
    "Add": "sum",
    "HardSilu": "hard_swish",
    "Mean": "mean",
    "Multiply": "product",
    "Subtract": "difference",
}


def kernel_kind(call: Call) -> str | None:
    """Return what the kernel of a call computes (see `IntegerRounding`), `None` if unknown.

    Sums and products of more than two tensors, or of a tensor and an array, are unknown.
    """
    layer = call.layer
    if not isinstance(layer, keras.layers.Layer):
        kind = _KERNELS_OF_OPS.get(type(layer).__name__)
    elif isinstance(layer, keras.layers.Activation):
        kind = "hard_swish" if layer.activation is keras.activations.hard_silu else None
    elif getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    else:
        kind = _KERNELS.get(type(layer))
    known = len(call.inputs) == 2 or constant(call) is not None
    return kind if known or kind not in _OF_TWO else None


def constant(call: Call) -> float | None:
    """Return the number that a call adds, subtracts or multiplies, `None` if there is none."""
    layer = call.layer
    if isinstance(layer, _layers.Rescaling):
        return (
            float(layer.scale) if np.size(layer.scale) == 1 and not np.any(layer.offset) else None
        )
    tensor, *rest = call.args
    if isinstance(tensor, int | float) and type(layer).__name__ != "Subtract":
        tensor, *rest = [*rest, tensor]
    number = rest[0] if rest else None
    return float(number) if isinstance(number, int | float) and number else None


def layer_kind(call: Call) -> str:
    """Return how the output of a call is rounded.

    Returns:
        `"kernel"`: in its own range, with rounded weights. `"own"`: in its own range. `"fixed"`: in
        a prescribed range (`fixed_range`). `"pass"`: it has the values of the input. `"same"`: in
        the range of the input. `"shared"`: all inputs and the output have one range. `"float"`: not
        at all, since LiteRT has no 8-bit op for it.
    """
    layer = call.layer
    if not all(isinstance(x, keras.KerasTensor) for x in call.outputs):
        return "float"
    if not isinstance(layer, keras.layers.Layer):
        return _operation_kind(call)
    if type(layer) in ROUNDED:
        return "kernel" if len(call.args) == 1 else "float"
    if isinstance(layer, keras.layers.UpSampling2D):
        return "pass" if layer.interpolation == "nearest" else "same"
    if fixed_range(call) and not _is_masked(call):
        return "fixed"
    known = (("pass", _PASSING), ("same", _SAME), ("shared", _SHARED), ("own", _COMPUTING))
    kinds = ["same"] if _is_mean_of_one(call) else []
    kinds += [kind for kind, classes in known if type(layer) in classes]
    return kinds[0] if kinds else _arguments_kind(call)


def _arguments_kind(call: Call) -> str:
    """Return the kind of a layer that depends on its arguments."""
    layer = call.layer
    if isinstance(layer, keras.layers.Activation):
        if layer.activation is keras.activations.linear:
            return "pass"
        own = layer.activation in _COMPUTING_ACTIVATIONS
    elif isinstance(layer, keras.layers.Rescaling):
        own = np.size(layer.scale) == 1 and not np.any(layer.offset)
    else:
        own = isinstance(layer, _layers.GlobalAveragePooling1D) and not _is_masked(call)
    return "own" if own else "float"


def _is_mean_of_one(call: Call) -> bool:
    """Return whether a call averages single numbers: LiteRT drops it, and a range of its own."""
    name = type(call.layer).__name__
    if name not in ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "Mean"):
        return False
    sizes = [x.shape[1:] for x in (call.inputs[0], call.outputs[0])]
    known = None not in sizes[0] and not _is_masked(call)
    return known and np.prod(sizes[0]) == np.prod(sizes[1])


def _is_masked(call: Call) -> bool:
    return len(call.inputs) > 1 or any(get_mask(x) is not None for x in call.inputs)


def fixed_range(call: Call) -> tuple[float, float] | None:
    """Return the range that LiteRT prescribes for the output of a call."""
    layer = call.layer
    if isinstance(layer, keras.layers.Softmax):
        return SIGMOID if layer.axis in (-1, len(call.inputs[0].shape) - 1) else None
    if isinstance(layer, keras.layers.Activation):
        return _FIXED.get(layer.activation)
    return None if isinstance(layer, keras.layers.Layer) else _FIXED_OPS.get(type(layer).__name__)


def fuses_relu(call: Call) -> bool:
    """Return whether LiteRT runs a ReLU after a call in the same op."""
    name = type(call.layer).__name__
    return type(call.layer) in _FUSING or (
        not isinstance(call.layer, keras.layers.Layer) and name in _FUSING_OPS
    )


def is_relu(call: Call) -> bool:
    """Return whether a call is a ReLU that LiteRT can run in the op before it."""
    layer = call.layer
    plain = isinstance(layer, keras.layers.ReLU) and not layer.negative_slope
    return plain and not layer.threshold and layer.max_value in (None, 6.0)


def _operation_kind(call: Call) -> str:
    name = type(call.layer).__name__
    for kind, names in (("pass", _PASSING_OPS), ("shared", _SHARED_OPS)):
        if name in names:
            return kind
    if name in _FIXED_OPS:
        return "fixed"
    if _is_mean_of_one(call):
        return "same"
    if name in _COMPUTING_OPS:
        return "own" if _has_plain_arguments(call) else "float"
    return "float"


def _has_plain_arguments(call: Call) -> bool:
    """Return whether no variable is among the arguments: it would not be trained."""
    parts = keras.tree.flatten((call.args, call.kwargs))
    return not any(isinstance(part, keras.Variable) for part in parts)


def is_real(tensor: Any) -> bool:
    """Return whether a tensor contains floats, and not tokens or masks."""
    return "float" in keras.backend.standardize_dtype(tensor.dtype)
