"""The int8 scheme of quantization-aware training, for tensorflow-model-optimization.

Importing this module imports tensorflow-model-optimization, so it is imported inside functions.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from keras_kd.compression.tfmot.imports import import_tf_keras, import_tfmot
from keras_kd.compression.tfmot.qat_plan import QuantizationPlan

tf_keras, tfmot = import_tf_keras(), import_tfmot()
_default = tfmot.quantization.keras.default_8bit
_quantizers = tfmot.quantization.keras.quantizers


class PlannedScheme(_default.Default8BitQuantizeScheme):
    """The default int8 scheme, with a plan for each layer by name."""

    def __init__(self, plans: Mapping[str, QuantizationPlan]) -> None:
        super().__init__()
        self.plans = plans

    def get_quantize_registry(self) -> "PlannedRegistry":
        """Return the registry of the plans."""
        return PlannedRegistry(self.plans)


class PlannedRegistry(_default.Default8BitQuantizeRegistry):
    """Returns the configuration of each layer from its plan."""

    def __init__(self, plans: Mapping[str, QuantizationPlan]) -> None:
        super().__init__()
        self.plans = plans

    def supports(self, layer: Any) -> bool:
        """Return whether a layer has a plan."""
        return layer.name in self.plans

    def get_quantize_config(self, layer: Any) -> Any:
        """Return the configuration of a layer."""
        plan = self.plans[layer.name]
        if plan.target in ("output", "nothing"):
            return OutputConfig(plan.target == "output")
        config = _get_registry(plan).get_quantize_config(layer)
        if type(layer).__name__ == "DepthwiseConv2D":
            config.weight_quantizer = DepthwiseQuantizer()
        return config


class OutputConfig(tfmot.quantization.keras.QuantizeConfig):
    """Quantizes the output of a layer, or nothing."""

    def __init__(self, output: bool) -> None:
        self.output = output

    def get_weights_and_quantizers(self, layer: Any) -> list:
        """Return no weights."""
        return []

    def get_activations_and_quantizers(self, layer: Any) -> list:
        """Return no activations."""
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: list) -> None:
        """Do nothing: no weights are quantized."""
        assert not quantize_weights

    def set_quantize_activations(self, layer: Any, quantize_activations: list) -> None:
        """Do nothing: no activations are quantized."""
        assert not quantize_activations

    def get_output_quantizers(self, layer: Any) -> list:
        """Return the quantizer of the output, if any."""
        if not self.output:
            return []
        return [_quantizers.MovingAverageQuantizer(8, False, False, False)]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"output": self.output}


class DepthwiseQuantizer(_quantizers.LastValueQuantizer):
    """Quantizes a depthwise kernel with one scale per channel, as in the file.

    tensorflow-model-optimization uses one scale for the whole kernel.
    """

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Create the range of each channel."""
        shape = (tensor_shape[-2] * tensor_shape[-1],)
        limits = {}
        for end, start in (("min", -6.0), ("max", 6.0)):
            limits[f"{end}_var"] = layer.add_weight(
                f"{name}_{end}",
                shape=shape,
                initializer=tf_keras.initializers.Constant(start),
                trainable=False,
            )
        return limits

    def __call__(self, inputs: Any, training: bool, weights: dict, **kwargs: Any) -> Any:
        """Quantize a kernel of shape `(height, width, channels, multiplier)`."""
        channels_last = tf.reshape(inputs, (*inputs.shape[:2], 1, -1))
        quantized = super().__call__(channels_last, training, weights, **kwargs)
        return tf.reshape(quantized, inputs.shape)


@tf.autograph.experimental.do_not_convert
def quantize_model(model: Any, plans: Mapping[str, QuantizationPlan]) -> Any:
    """Quantize the layers of a flat tf_keras model that have a plan, by name."""
    copies = {}

    def annotate(layer: Any) -> Any:
        if layer.name in plans and _has_float_inputs(layer):
            return tfmot.quantization.keras.quantize_annotate_layer(layer)
        copies[layer.name] = type(layer).from_config(layer.get_config())
        return copies[layer.name]

    with tfmot.quantization.keras.quantize_scope():
        annotated = tf_keras.models.clone_model(model, clone_function=annotate)
        for name, copy in copies.items():
            copy.set_weights(model.get_layer(name).get_weights())
        return tfmot.quantization.keras.quantize_apply(annotated, PlannedScheme(plans))


def _get_registry(plan: QuantizationPlan) -> Any:
    """Return a registry for one layer; layers of one registry would share their quantizers."""
    combine = tfmot.experimental.combine
    if plan.preserve_clusters:
        scheme = combine.Default8BitClusterPreserveQuantizeScheme(plan.preserve_zeros)
    elif plan.preserve_zeros:
        scheme = combine.Default8BitPrunePreserveQuantizeScheme()
    else:
        return _default.Default8BitQuantizeRegistry()
    return scheme.get_quantize_registry()


def _has_float_inputs(layer: Any) -> bool:
    """Return whether all inputs of a layer are float; integer inputs are not quantized."""
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return all(tensor.dtype.is_floating for tensor in inputs)
