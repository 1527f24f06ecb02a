"""Quantization-aware training: the student learns with the rounding of its int8 file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_kd.compression.kernels import is_clustered, is_pruned, kernels_of, noughts
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans
from keras_kd.compression.result import Result
from keras_kd.compression.tfmot import imports as legacy_keras
from keras_kd.compression.tfmot import rewrites as rewriting
from keras_kd.compression.tfmot.convert import Bridged, bridge, read
from keras_kd.compression.tfmot.initial_ranges import SAMPLES, set_ranges
from keras_kd.compression.tfmot.layers import Custom
from keras_kd.compression.tfmot.qat_rewrites import ROUNDED, mend
from keras_kd.compression.tfmot.taps import original_name
from keras_kd.compression.tfmot.wrapper import Shell, encase
from keras_kd.compression.training import Training

if TYPE_CHECKING:
    from keras_kd.compression.tfmot.qat_scheme import Treatment

_WEIGHTS = ("Conv2D", "DepthwiseConv2D", "Dense", "Conv2DTranspose")
#: What can keep noughts and clusters.
_PRESERVED = ("Conv2D", "Dense")
_OWN = """
ReLU LeakyReLU Concatenate UpSampling2D AveragePooling1D AveragePooling2D GlobalAveragePooling1D
GlobalAveragePooling2D GlobalAveragePooling3D Add Softmax
"""
_MOVING = """
Cropping1D Cropping2D Cropping3D Flatten Permute Reshape RepeatVector MaxPooling1D MaxPooling2D
MaxPooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D ZeroPadding1D ZeroPadding2D
ZeroPadding3D UpSampling1D UpSampling3D Identity Dropout SpatialDropout1D SpatialDropout2D
SpatialDropout3D AlphaDropout GaussianDropout GaussianNoise ActivityRegularization RandomFlip
RandomRotation RandomZoom RandomTranslation RandomBrightness RandomContrast
"""
_OF_SEVERAL = "MultiHeadAttention Attention AdditiveAttention"
_RECURRENT = """
LSTM GRU SimpleRNN RNN Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D
"""
_NO_LOOPS = (
    "a loop over time steps cannot be converted once it is rounded. Export the student with "
    'quantization="int8" and calibration instead, which writes the loop out'
)
#: Activations that tensorflow-model-optimization knows as layers.
_ACTIVATIONS = ("relu", "swish", "gelu", "linear", "softmax", "sigmoid", "tanh")


def quantize_aware(
    student: keras.Model,
    *,
    data: Any,
    epochs: int,
    preserve_sparsity: bool = True,
    preserve_clusters: bool = True,
    custom: Custom | None = None,
    **training: Any,
) -> Result:
    """Trains a student with the rounding that its int8 file will have.

    Weights and what flows between the layers are rounded to eight bits in the forward pass, in the
    ranges that they have on the data. Layers that have no eight-bit form stay in float, and what
    they give is rounded. Patterns that tensorflow-model-optimization cannot take are first turned
    into equal ones: batch norms are folded, ReLUs fused, the preparation of the input moved before
    the quantized part, nested models opened. The table says what happens to each layer.

    Of a student that was pruned or clustered before, the noughts and the few values stay (PQAT,
    CQAT and PCQAT), in dense layers and two-dimensional convolutions.

    Args:
        student: A built Functional or Sequential `keras.Model`, trained; it stays as it is.
        data: What to train on; see `kd.compression.Training`. The ranges start from what its first
            300 samples or more give.
        epochs: How often to go through it.
        preserve_sparsity: Whether noughts stay in kernels of which a tenth or more is nought.
            Defaults to `True`.
        preserve_clusters: Whether kernels in which most weights share their value with another
            keep to these values, which go on learning. Defaults to `True`.
        custom: As for `to_tf_keras`; custom layers are not rounded, only what they give. Defaults
            to `None`.
        **training: The other arguments of `kd.compression.Training`: `optimizer`, `loss`,
            `metrics`, `teachers`, `losses`, `student_loss_weight`, `weighting`, `noise`,
            `validation_data`, `callbacks`, `batch_size`, `monitor`, `verbose`, ...

    Returns:
        The `Result`. Its model rounds as the file does; `kd.export.to_tflite(model, path, "int8")`
        writes that file, without calibration. It cannot be saved as a Keras model.

    Raises:
        ValueError: When a layer cannot be carried over to tf_keras, or there is nothing to
            quantize.
        ImportError: When tensorflow-model-optimization is not installed.

    Example:
        >>> result = kd.compression.quantize_aware(
        ...     student, data=train, epochs=3, loss=loss, teachers=teacher
        ... )
        >>> file = kd.export.to_tflite(result.model, "student.tflite", "int8")

    Reference:
        Jacob et al. 2018, arXiv:1712.05877.
    """
    plan = Training(data=data, epochs=epochs, **training)
    ready = ready_to_quantize(student, plan, preserve_sparsity, preserve_clusters, custom)
    ready.layers.announce("quantized", student.name, plan.verbose)
    set_ranges(ready.shell.layer.legacy, ready.shell.bridged, plan.samples(SAMPLES))
    history = plan.fit(ready.shell, ready.measured)
    return Result(ready.shell.model, history, ready.layers)


@dataclass(frozen=True)
class Ready:
    """A student made ready for quantization-aware training.

    Attributes:
        shell: The student, its ranges still unset.
        layers: What happens to each layer.
    """

    shell: Shell
    layers: LayerPlans

    def measured(self) -> dict[str, float]:
        """What is written into the history at the end of each epoch."""
        names = self.layers.named("quantized")
        wrappers = [x for x in self.shell.layer.legacy.layers if original_name(x) in names]
        kernels = [kernel for kernel in map(_kernel, wrappers) if kernel is not None]
        return {"sparsity": noughts(kernel.numpy() for kernel in kernels)}


def ready_to_quantize(
    student: keras.Model,
    plan: Training,
    preserve_sparsity: bool = True,
    preserve_clusters: bool = True,
    custom: Custom | None = None,
) -> Ready:
    """Makes a student ready for quantization-aware training; see `quantize_aware`.

    Args:
        student: The student.
        plan: How it will be trained.
        preserve_sparsity: Whether noughts shall stay.
        preserve_clusters: Whether clusters shall stay.
        custom: What stands for custom layers.

    Returns:
        The student in its new form.

    Raises:
        ValueError: When a layer cannot be carried over to tf_keras or quantized.
    """
    from keras_kd.compression.tfmot.qat_scheme import quantized

    chains, graph = rewriting.Chains(), read(student)
    rewriting.split_activations(graph, chains, rewriting.PROBABILITIES)
    starts = mend(graph, chains, plan.tapped(student))
    bridged = bridge(student, graph, chains, custom, starts)
    layers, treatments = plan_quantization(bridged, preserve_sparsity, preserve_clusters)
    layers.require("quantized", student.name)
    wrapped = quantized(bridged.flat, treatments)
    return Ready(encase(student, bridged, wrapped, _untrained(wrapped, treatments)), layers)


def plan_quantization(
    bridged: Bridged, sparsity: bool, clusters: bool
) -> tuple[LayerPlans, "Mapping[str, Treatment]"]:
    """What quantization-aware training will do to each layer.

    Args:
        bridged: The student in tf_keras, mended.
        sparsity: Whether noughts shall stay.
        clusters: Whether clusters shall stay.

    Returns:
        The plans, and for each layer that is touched its treatment.
    """
    plans, treatments = [], {}
    for path, calls in bridged.graph.calls.items():
        links = bridged.layers.get(path)
        note = bridged.chains.notes.get(path, "")
        if not links:
            if note and not isinstance(calls[0].layer, keras.Model):
                plans.append(LayerPlan(path, type(calls[0].layer).__name__, "mended", note))
            continue
        for link in links:
            plan, treatment = _plan(link, sparsity, clusters)
            reason = ", ".join(filter(None, [plan.reason, note]))
            plans.append(LayerPlan(plan.name, plan.kind, plan.action, reason))
            if treatment is not None:
                treatments[link.name] = treatment
    return LayerPlans(plans), treatments


def _plan(layer: Any, sparsity: bool, clusters: bool) -> "tuple[LayerPlan, Treatment | None]":
    """What will happen to one tf_keras layer, and its treatment."""
    from keras_kd.compression.tfmot.qat_scheme import Treatment

    kind = type(layer).__name__
    outputs = layer.output if isinstance(layer.output, list) else [layer.output]
    real = len(outputs) == 1 and outputs[0].dtype.is_floating
    # Rounding what leaves the model in float would only lose.
    output = Treatment("output") if real and layer.outbound_nodes else None

    action, reason, treatment = "left", "gives no single tensor of reals", output
    if kind in _RECURRENT.split():
        action, reason = "refused", _NO_LOOPS
    elif kind in _WEIGHTS and getattr(layer, "data_format", "channels_last") == "channels_last":
        noughts_stay, values_stay, reason = _preserved(layer, sparsity, clusters)
        action, treatment = "quantized", Treatment("weights", noughts_stay, values_stay)
    elif kind == "BatchNormalization" and _follows_convolution(layer):
        action, reason, treatment = "quantized", "with the convolution before it", output
    elif kind in _MOVING.split() and not layer.name.endswith(ROUNDED):
        reason, treatment = "does not compute", Treatment("nothing")
    elif kind in _OWN.split() or (kind == "Activation" and layer.activation in _known()):
        action, reason, treatment = "quantized", "what it gives", Treatment("default")
    elif kind in _OF_SEVERAL.split():
        reason, treatment = "what it gives is rounded, its weights are not", None
    elif layer.weights:
        reason = "what it gives is rounded, its weights are not"
    elif output is not None:
        action, reason = "quantized", "what it gives"
    return LayerPlan(layer.name, kind, action, reason), treatment


def _known() -> list[Any]:
    activations = legacy_keras.tf_keras().activations
    return [getattr(activations, name) for name in _ACTIVATIONS]


def _preserved(layer: Any, sparsity: bool, clusters: bool) -> tuple[bool, bool, str]:
    """Whether noughts and clusters of a layer stay, and its reason."""
    kind = type(layer).__name__
    reason = "weights, for each channel" if "Conv2D" in kind else "weights"
    if kind not in _PRESERVED:
        return False, False, reason
    (kernel,) = kernels_of(layer).values()
    sparse = sparsity and is_pruned([kernel])
    few = clusters and any(is_clustered(kernel, each) for each in {False, kind == "Conv2D"})
    if sparse:
        reason += f", {noughts([kernel]):.0%} of them noughts that stay"
    if few:
        reason += f", {np.unique(kernel).size} values that stay"
    return sparse, few, reason


def _follows_convolution(layer: Any) -> bool:
    """Whether a batch norm is one that tfmot quantizes with the convolution before it."""
    before = layer.inbound_nodes[0].inbound_layers
    return (
        type(before).__name__ in ("Conv2D", "DepthwiseConv2D") and len(before.outbound_nodes) == 1
    )


def _untrained(wrapped: Any, treatments: "Mapping[str, Treatment]") -> list[Any]:
    """Variables that the optimizer must leave alone.

    tfmot's wrappers forget that a layer is frozen; the kernel of a clustered layer is made of its
    values and gets no gradient.
    """
    found = []
    for wrapper in wrapped.layers:
        inner = getattr(wrapper, "layer", None)
        if inner is not None and not inner.trainable:
            found += wrapper.weights
        elif inner is not None and treatments.get(inner.name, None) is not None:
            found += [_kernel(wrapper)] if treatments[inner.name].clusters else []
    return found


def _kernel(wrapper: Any) -> Any:
    """The kernel of a quantized layer, if it has one."""
    kernels = ("kernel", "depthwise_kernel")
    named = {w.name.split(":")[0].split("/")[-1]: w for w in wrapper.weights}
    return next((named[name] for name in kernels if name in named), None)
