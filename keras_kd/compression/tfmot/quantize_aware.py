"""Quantization-aware training with tensorflow-model-optimization, in tf_keras."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_kd.compression.kernels import is_clustered, is_pruned, zero_fraction
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result
from keras_kd.compression.tfmot import rewrites
from keras_kd.compression.tfmot.convert import convert_graph, open_student
from keras_kd.compression.tfmot.converted_model import ConvertedModel
from keras_kd.compression.tfmot.initial_ranges import SAMPLES, set_initial_ranges
from keras_kd.compression.tfmot.kernels import get_kernels
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.tfmot.qat_plan import QuantizationPlan, plan_layer
from keras_kd.compression.tfmot.qat_rewrites import rewrite_for_qat
from keras_kd.compression.tfmot.quantized_model import QuantizedModel, quantize
from keras_kd.compression.tfmot.training import fit_in_tf_keras
from keras_kd.compression.tfmot.wrapper import WrappedModel, wrap
from keras_kd.compression.training import Training

#: Layers whose zeros and clusters tensorflow-model-optimization can preserve.
_PRESERVABLE = ("Conv2D", "Dense")


def quantize_aware_in_tf_keras(
    student: keras.Model,
    plan: Training,
    preserve_sparsity: bool,
    preserve_clusters: bool,
    custom: Custom | None,
) -> Result:
    """Train a student with the rounding of its int8 file; see `kd.compression.quantize_aware`."""
    prepared = prepare_student(student, plan, preserve_sparsity, preserve_clusters, custom)
    prepared.layers.announce("quantized", student.name, plan.verbose)
    prepared.set_initial_ranges(plan.sample_batches(SAMPLES))
    history = fit_in_tf_keras(plan, prepared.wrapped, prepared.measure)
    return Result(prepared.wrapped.model, history, prepared.layers)


@dataclass(frozen=True)
class PreparedStudent:
    """A student prepared for quantization-aware training.

    Attributes:
        quantized: The quantized tf_keras model.
        wrapped: The same model, wrapped for Keras 3.
        layers: What happens to each layer.
    """

    quantized: QuantizedModel
    wrapped: WrappedModel
    layers: LayerPlans

    def set_initial_ranges(self, batches: Any) -> None:
        """Set the initial ranges from batches of inputs."""
        set_initial_ranges(self.quantized.model, self.wrapped.converted, batches)

    def measure(self) -> dict[str, float]:
        """Return the values that are added to the history at the end of each epoch."""
        return {"sparsity": zero_fraction(self.quantized.kernels)}


def prepare_student(
    student: keras.Model,
    plan: Training,
    preserve_sparsity: bool = True,
    preserve_clusters: bool = True,
    custom: Custom | None = None,
) -> PreparedStudent:
    """Prepare a student for the training of `quantize_aware`, except the initial ranges."""
    replacements, graph = rewrites.Replacements(), open_student(student)
    rewrites.split_activations(graph, replacements, rewrites.PROBABILITIES)
    starts = rewrite_for_qat(graph, replacements, plan.student_taps(student))
    converted = convert_graph(student, graph, replacements, custom, starts)
    plans = {
        layer.name: _preserve(plan_layer(layer), layer, preserve_sparsity, preserve_clusters)
        for chain in converted.layers.values()
        for layer in chain
    }
    layers = _list_layers(converted, plans)
    layers.require("quantized", student.name)
    quantized = quantize(converted, plans)
    wrapped = wrap(student, converted, quantized.model, quantized.untrained_variables)
    return PreparedStudent(quantized, wrapped, layers)


def _list_layers(converted: ConvertedModel, plans: dict[str, QuantizationPlan]) -> LayerPlans:
    """Return what happens to each layer, with the rewrites of the graph."""
    listed = []
    for path, calls in converted.graph.calls.items():
        note = converted.replacements.notes.get(path, "")
        chain = converted.layers.get(path, [])
        kind = type(calls[0].layer).__name__
        if not chain and note and not isinstance(calls[0].layer, keras.Model):
            listed.append(LayerPlan(path, kind, "rewritten", note))
        for layer in chain:
            plan = plans[layer.name]
            reason = ", ".join(filter(None, [plan.reason, note]))
            listed.append(LayerPlan(layer.name, type(layer).__name__, plan.action, reason))
    return LayerPlans(listed)


def _preserve(
    plan: QuantizationPlan, layer: Any, preserve_sparsity: bool, preserve_clusters: bool
) -> QuantizationPlan:
    """Add to a plan whether zeros and clusters of the layer are preserved."""
    kind = type(layer).__name__
    if plan.target != "weights" or kind not in _PRESERVABLE:
        return plan
    (kernel,) = get_kernels(layer).values()
    sparse = preserve_sparsity and is_pruned([kernel])
    per_channel = {False, kind == "Conv2D"}
    clustered = preserve_clusters and any(is_clustered(kernel, each) for each in per_channel)
    reasons = [plan.reason]
    if sparse:
        reasons.append(f"{zero_fraction([kernel]):.0%} zeros preserved")
    if clustered:
        reasons.append(f"{np.unique(kernel).size} values preserved")
    return dataclasses.replace(
        plan,
        reason=", ".join(reasons),
        preserve_zeros=sparse,
        preserve_clusters=clustered,
    )
