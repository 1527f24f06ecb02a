"""A tf_keras model prepared for quantization-aware training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_kd.compression.tfmot.converted_model import ConvertedModel, original_name
from keras_kd.compression.tfmot.imports import import_tf_keras
from keras_kd.compression.tfmot.qat_plan import QuantizationPlan


@dataclass(frozen=True)
class QuantizedModel:
    """A tf_keras model whose quantized layers are wrapped.

    Attributes:
        model: The tf_keras model.
        plans: The plans of all layers, by name.
    """

    model: Any
    plans: Mapping[str, QuantizationPlan]

    @property
    def kernels(self) -> list[np.ndarray]:
        """The kernels of the quantized layers."""
        quantized = {name for name, plan in self.plans.items() if plan.action == "quantized"}
        layers = [layer for layer in self.model.layers if original_name(layer) in quantized]
        kernels = [kernel for kernel in map(_find_kernel, layers) if kernel is not None]
        return [kernel.numpy() for kernel in kernels]

    @property
    def untrained_variables(self) -> list[Any]:
        """Variables that the optimizer must not change.

        The wrappers of tensorflow-model-optimization ignore that a layer is frozen. The kernel of a
        clustered layer is computed from its values and gets no gradient.
        """
        found = []
        for wrapper in self.model.layers:
            if not isinstance(wrapper, import_tf_keras().layers.Wrapper):
                continue
            plan = self.plans.get(wrapper.layer.name)
            if not wrapper.layer.trainable:
                found += wrapper.weights
            elif plan is not None and plan.target is not None and plan.preserve_clusters:
                found.append(_find_kernel(wrapper))
        return found


def quantize(converted: ConvertedModel, plans: Mapping[str, QuantizationPlan]) -> QuantizedModel:
    """Wrap the layers of a converted and rewritten model for quantization-aware training."""
    from keras_kd.compression.tfmot.qat_scheme import quantize_model

    wrapped = {name: plan for name, plan in plans.items() if plan.target is not None}
    return QuantizedModel(quantize_model(converted.flat, wrapped), plans)


def _find_kernel(wrapper: Any) -> Any:
    """Return the kernel of a quantized layer, or `None`."""
    named = {w.name.split(":")[0].split("/")[-1]: w for w in wrapper.weights}
    return named.get("kernel", named.get("depthwise_kernel"))
