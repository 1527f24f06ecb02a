"""How each layer is quantized while it is trained: a scheme for tensorflow-model-optimization.

Imports tensorflow-model-optimization, so it is itself imported where it is needed only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_kd.compression.tfmot import imports as legacy_keras

tfmot = legacy_keras.tfmot()
_default = tfmot.quantization.keras.default_8bit
_quantizers = tfmot.quantization.keras.quantizers


@dataclass(frozen=True)
class Treatment:
    """What becomes of one layer.

    Attributes:
        kind: `"weights"` and what it computes, `"default"` for what tfmot does of itself,
            `"output"` alone, or `"nothing"`.
        sparsity: Whether noughts among the weights stay noughts.
        clusters: Whether the weights keep to their few values.
    """

    kind: str
    sparsity: bool = False
    clusters: bool = False


class Scheme(_default.Default8BitQuantizeScheme):
    """tfmot's eight bits, with a treatment for each layer.

    Args:
        treatments: By the layer's name.
    """

    def __init__(self, treatments: Mapping[str, Treatment]) -> None:
        super().__init__()
        self.treatments = treatments

    def get_quantize_registry(self) -> "Registry":
        """The registry that knows the treatments."""
        return Registry(self.treatments)


class Registry(_default.Default8BitQuantizeRegistry):
    """Gives each layer the configuration of its treatment.

    Args:
        treatments: By the layer's name.
    """

    def __init__(self, treatments: Mapping[str, Treatment]) -> None:
        super().__init__()
        self.treatments = treatments

    def supports(self, layer: Any) -> bool:
        """Whether there is a treatment."""
        return layer.name in self.treatments

    def get_quantize_config(self, layer: Any) -> Any:
        """The configuration of a layer's treatment."""
        treatment = self.treatments[layer.name]
        if treatment.kind in ("output", "nothing"):
            return OutputConfig(treatment.kind == "output")
        config = _registry(treatment).get_quantize_config(layer)
        if type(layer).__name__ == "DepthwiseConv2D":
            config.weight_quantizer = DepthwiseWeights()
        return config


class OutputConfig(tfmot.quantization.keras.QuantizeConfig):
    """Quantizes what a layer gives, or nothing of it.

    Args:
        output: Whether the output is quantized.
    """

    def __init__(self, output: bool) -> None:
        self.output = output

    def get_weights_and_quantizers(self, layer: Any) -> list:
        """No weights."""
        return []

    def get_activations_and_quantizers(self, layer: Any) -> list:
        """No activations."""
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: list) -> None:
        """Sets none: there are none."""
        assert not quantize_weights

    def set_quantize_activations(self, layer: Any, quantize_activations: list) -> None:
        """Sets none: there are none."""
        assert not quantize_activations

    def get_output_quantizers(self, layer: Any) -> list:
        """The output's, if it is quantized."""
        if not self.output:
            return []
        return [_quantizers.MovingAverageQuantizer(8, False, False, False)]

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"output": self.output}


class DepthwiseWeights(_quantizers.LastValueQuantizer):
    """A scale for each channel of a depthwise kernel, as the file has it.

    tfmot gives the whole kernel one scale, which wide and narrow channels have to share.
    """

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Makes the limits of each channel."""
        shape = (tensor_shape[-2] * tensor_shape[-1],)
        limits = {}
        for end, start in (("min", -6.0), ("max", 6.0)):
            limits[f"{end}_var"] = layer.add_weight(
                f"{name}_{end}",
                shape=shape,
                initializer=legacy_keras.tf_keras().initializers.Constant(start),
                trainable=False,
            )
        return limits

    def __call__(self, inputs: Any, training: bool, weights: dict, **kwargs: Any) -> Any:
        """Quantizes a kernel (height, width, channels, multiplier)."""
        channels_last = tf.reshape(inputs, (*inputs.shape[:2], 1, -1))
        quantized = super().__call__(channels_last, training, weights, **kwargs)
        return tf.reshape(quantized, inputs.shape)


def _registry(treatment: Treatment) -> Any:
    """A registry for one layer: one for several would share its quantizers among them."""
    combine = tfmot.experimental.combine
    if treatment.clusters:
        scheme = combine.Default8BitClusterPreserveQuantizeScheme(treatment.sparsity)
    elif treatment.sparsity:
        scheme = combine.Default8BitPrunePreserveQuantizeScheme()
    else:
        return _default.Default8BitQuantizeRegistry()
    return scheme.get_quantize_registry()


def quantized(model: Any, treatments: Mapping[str, Treatment]) -> Any:
    """A tf_keras model that computes as its int8 file will.

    Args:
        model: A flat tf_keras model.
        treatments: By layer; the others are left as they are.

    Returns:
        A tf_keras model.
    """
    copies = {}

    def annotated(layer: Any) -> Any:
        if layer.name in treatments and _real(layer):
            return tfmot.quantization.keras.quantize_annotate_layer(layer)
        copies[layer.name] = type(layer).from_config(layer.get_config())
        return copies[layer.name]

    with tfmot.quantization.keras.quantize_scope():
        marked = legacy_keras.tf_keras().models.clone_model(model, clone_function=annotated)
        for name, copy in copies.items():
            copy.set_weights(model.get_layer(name).get_weights())
        return tfmot.quantization.keras.quantize_apply(marked, Scheme(treatments))


def _real(layer: Any) -> bool:
    """Whether what a layer takes are real numbers: what precedes integers is not quantized."""
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return all(tensor.dtype.is_floating for tensor in inputs)
