"""What quantization-aware training does to each kind of tf_keras layer."""

from dataclasses import dataclass
from typing import Any

from keras_kd.compression.tfmot.imports import import_tf_keras
from keras_kd.compression.tfmot.qat_rewrites import ROUNDING_SUFFIX

_WEIGHTS = ("Conv2D", "DepthwiseConv2D", "Dense", "Conv2DTranspose")
_SUPPORTED = """
ReLU LeakyReLU Concatenate UpSampling2D AveragePooling1D AveragePooling2D GlobalAveragePooling1D
GlobalAveragePooling2D GlobalAveragePooling3D Add Softmax
"""
_COPYING = """
Cropping1D Cropping2D Cropping3D Flatten Permute Reshape RepeatVector MaxPooling1D MaxPooling2D
MaxPooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D ZeroPadding1D ZeroPadding2D
ZeroPadding3D UpSampling1D UpSampling3D Identity Dropout SpatialDropout1D SpatialDropout2D
SpatialDropout3D AlphaDropout GaussianDropout GaussianNoise ActivityRegularization RandomFlip
RandomRotation RandomZoom RandomTranslation RandomBrightness RandomContrast
"""
_ATTENTION = ("MultiHeadAttention", "Attention", "AdditiveAttention")
_RECURRENT = """
LSTM GRU SimpleRNN RNN Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D
"""
_RECURRENT_REASON = (
    "a loop over time steps cannot be converted with rounding. Export the student with "
    'quantization="int8" and calibration instead, which unrolls the loop'
)
_OUTPUT_ONLY = "output is rounded, weights are not"
#: Activations that tensorflow-model-optimization supports as layers.
_ACTIVATIONS = ("relu", "swish", "gelu", "linear", "softmax", "sigmoid", "tanh")


@dataclass(frozen=True)
class QuantizationPlan:
    """What quantization-aware training does to a layer.

    Attributes:
        action: `"quantized"`, `"kept"`, or `"refused"`.
        reason: What is quantized, or why nothing is.
        target: `"weights"` and their results, `"default"` for the default of
            tensorflow-model-optimization, `"output"` alone, `"nothing"`, or `None` for a layer that
            is not wrapped.
        preserve_zeros: Whether zero weights stay zero.
        preserve_clusters: Whether the weights keep their few values.
    """

    action: str
    reason: str
    target: str | None
    preserve_zeros: bool = False
    preserve_clusters: bool = False


def plan_layer(layer: Any) -> QuantizationPlan:
    """Return the plan of a tf_keras layer."""
    kind = type(layer).__name__
    outputs = layer.output if isinstance(layer.output, list) else [layer.output]
    is_float = len(outputs) == 1 and outputs[0].dtype.is_floating
    # A model output stays in float, so rounding it would only lose accuracy.
    target = "output" if is_float and layer.outbound_nodes else None
    if kind in _RECURRENT.split():
        plan = QuantizationPlan("refused", _RECURRENT_REASON, target)
    elif kind in _WEIGHTS and getattr(layer, "data_format", "channels_last") == "channels_last":
        reason = "weights, per channel" if "Conv2D" in kind else "weights"
        plan = QuantizationPlan("quantized", reason, "weights")
    elif kind == "BatchNormalization" and _follows_convolution(layer):
        plan = QuantizationPlan("quantized", "with the convolution before it", target)
    elif kind in _COPYING.split() and not layer.name.endswith(ROUNDING_SUFFIX):
        plan = QuantizationPlan("kept", "does not compute", "nothing")
    elif kind in _SUPPORTED.split() or _is_supported_activation(layer):
        plan = QuantizationPlan("quantized", "output", "default")
    elif kind in _ATTENTION:
        plan = QuantizationPlan("kept", _OUTPUT_ONLY, None)
    elif layer.weights:
        plan = QuantizationPlan("kept", _OUTPUT_ONLY, target)
    elif target is not None:
        plan = QuantizationPlan("quantized", "output", target)
    else:
        plan = QuantizationPlan("kept", "does not return a single float tensor", target)
    return plan


def _is_supported_activation(layer: Any) -> bool:
    activations = import_tf_keras().activations
    supported = [getattr(activations, name) for name in _ACTIVATIONS]
    return type(layer).__name__ == "Activation" and layer.activation in supported


def _follows_convolution(layer: Any) -> bool:
    """Return whether tfmot quantizes a batch norm together with the convolution before it."""
    before = layer.inbound_nodes[0].inbound_layers
    return (
        type(before).__name__ in ("Conv2D", "DepthwiseConv2D") and len(before.outbound_nodes) == 1
    )
