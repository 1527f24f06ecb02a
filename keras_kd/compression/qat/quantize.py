"""Build the model for quantization-aware training from a student."""

import functools
import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.compression.kernels import is_clustered, is_pruned, zero_fraction
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans
from keras_kd.compression.qat.folding import scale_and_shift
from keras_kd.compression.qat.layer_kinds import constant, fixed_range, is_real, kernel_kind
from keras_kd.compression.qat.placement import Placement, place_ranges
from keras_kd.compression.qat.primitive import PrimitiveModel, make_primitive
from keras_kd.compression.tfmot.convert import call_arguments, sort_calls
from keras_kd.models.activation_range import (
    NEED_OPERANDS,
    STEPS,
    ActivationRange,
    FloatBarrier,
    IntegerRounding,
)
from keras_kd.models.copy import copy_layer
from keras_kd.models.graph import Call, open_graph
from keras_kd.models.rounded_layers import ROUNDED, RoundedKernel

# LiteRT runs these with weights of 4 bits.
_FOUR_BITS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Dense)


@dataclass(frozen=True)
class Rounding:
    """How kernels are rounded.

    Attributes:
        keep_zeros: Whether zeros are preserved in pruned kernels.
        keep_clusters: Whether equal weights of clustered kernels stay equal.
        bits: Bits of a weight, in layers that LiteRT runs with 4: 8 or 4.
    """

    keep_zeros: bool = True
    keep_clusters: bool = True
    bits: int = 8


def build_quantized(
    student: keras.Model,
    rounding: Rounding,
    keep: Collection[str] = (),
    skip: Collection[str] = (),
    x: Any = None,
) -> tuple[keras.Model, LayerPlans]:
    """Return a model with rounded kernels and activations, and what was done to each layer.

    Args:
        student: A built Functional or Sequential model, which is not changed.
        rounding: How kernels are rounded.
        keep: Paths of layers whose outputs are kept; nothing is folded into them. Defaults to none.
        skip: Paths of layers to leave in float. Defaults to none.
        x: A batch of inputs to verify the rebuilt student with. Defaults to `None`.

    Raises:
        ValueError: If the student cannot be rebuilt.
    """
    primitive = make_primitive(student, keep, skip, x)
    floats = [name for name, path in primitive.origins.items() if path in skip]
    graph = open_graph(primitive.model)
    placement = place_ranges(graph, floats)
    build = _Build(placement, rounding, _folded_scales(primitive))
    model = build.run(student.name)
    return model, _list_layers(primitive, placement, build.notes, skip)


def rounded_kernels(model: keras.Model) -> list[np.ndarray]:
    """Return the kernels of a quantized model as they are before the rounding."""
    layers = [layer for layer in model.layers if isinstance(layer, RoundedKernel)]
    return [keras.ops.convert_to_numpy(layer.used_kernel()) for layer in layers]


class _Build:
    """Rebuilds a primitive model with rounded layers and ranges.

    Attributes:
        notes: What is preserved in the kernel of a layer, by the name of the layer.
    """

    def __init__(
        self, placement: Placement, rounding: Rounding, scales: dict[str, np.ndarray]
    ) -> None:
        self.placement = placement
        self.rounding = rounding
        self.scales = scales
        self.notes: dict[str, str] = {}
        self._layers: dict[str, Any] = {}
        self._ranges: dict[int, ActivationRange] = {}
        self._tensors: dict[int, Any] = {}
        # Values of a dense kernel stay few in the file only if they have one scale.
        self._dense_per_tensor = rounding.keep_clusters and any(
            isinstance(calls[0].layer, keras.layers.Dense)
            and _has_clusters(_kernel(calls[0].layer))
            for calls in placement.graph.calls.values()
        )
        self._finish: list[Callable[[], None]] = []
        # The range of an output has the name of the output; an input that is one has its own.
        outputs = tree.flatten(placement.graph.outputs)
        rounded = [x for x in outputs if placement.range_of(x) is not None]
        makers = {id(x): call for x in rounded if (call := placement.graph.maker(x)) is not None}
        self._rounded_outputs = set(makers)
        self._renamed = {call.path for call in makers.values()}
        self._names = set(placement.graph.calls) - self._renamed

    def run(self, name: str) -> keras.Model:
        """Return the model."""
        graph = self.placement.graph
        inputs = tree.map_structure(_fresh_input, graph.inputs)
        for old, new in zip(tree.flatten(graph.inputs), tree.flatten(inputs), strict=True):
            value = self._compute_in_integers("float", [new], old.name)
            self._tensors[id(old)] = self._round(old, value, old.name)
        for call in sort_calls(graph):
            in_float = self.placement.kinds[id(call)] == "float"
            arguments = call_arguments(call)
            read = functools.partial(self._input, call)
            args, kwargs = tree.map_structure(read, arguments)
            outputs = tree.flatten(self._layer(call)(*args, **kwargs))
            for old, new in zip(call.outputs, outputs, strict=True):
                barrier = in_float and self.placement.needs_barrier(call, old)
                value = _keep_in_float(new) if barrier else new
                kind = self._kernel_kind(call)
                if kind:
                    operands = call.inputs if kind in NEED_OPERANDS else []
                    tensors = [value, *(self._tensors[id(x)] for x in operands)]
                    number = constant(call) if kind != "float" else None
                    value = self._compute_in_integers(kind, tensors, call.path, number)
                self._tensors[id(old)] = self._round(old, value, call.path)
        outputs = tree.map_structure(lambda x: self._tensors[id(x)], graph.outputs)
        model = keras.Model(inputs, outputs, name=name)
        for finish in self._finish:
            finish()
        return model

    def _input(self, call: Call, x: Any) -> Any:
        """Return what a call gets in place of an argument in the primitive graph."""
        if id(x) not in self._tensors:
            own = self.placement.kinds[id(call)] == "own"
            return round_constant(x) if own and np.size(x) > 1 else x
        value = self._tensors[id(x)]
        if self.placement.kinds[id(call)] != "float":
            return value
        # LiteRT would run a mean behind a rounded tensor in 8 bits, and round a softmax itself.
        product = type(call.layer).__name__ == "Matmul"
        rounds = self.placement.is_rounded(x) and not product
        return _keep_in_float(value) if rounds or self.placement.has_fixed_range(x) else value

    def _round(self, old: keras.KerasTensor, new: keras.KerasTensor, path: str) -> Any:
        source = self.placement.range_of(old)
        if source is None:
            return new
        if id(source) not in self._ranges:
            maker = self.placement.graph.maker(source)
            fixed = None
            if maker is not None and self.placement.kinds[id(maker)] == "fixed":
                fixed = fixed_range(maker)
            name = path if id(old) in self._rounded_outputs else f"{path}_range"
            made = ActivationRange(fixed, name=self._unused_name(name), dtype="float32")
            self._ranges[id(source)] = made
        return self._ranges[id(source)](new)

    def _compute_in_integers(
        self, kind: str, tensors: list[Any], path: str, number: float | None = None
    ) -> Any:
        name = self._unused_name(f"{path}_integers")
        layer = IntegerRounding(kind, number, name=name, dtype="float32")
        return layer(tensors if len(tensors) > 1 else tensors[0])

    def _unused_name(self, name: str) -> str:
        """Return a name that no other layer has; each call of a shared layer needs one."""
        unused = name
        for number in itertools.count(1):
            if unused not in self._names:
                break
            unused = f"{name}_{number}"
        self._names.add(unused)
        return unused

    def _kernel_kind(self, call: Call) -> str | None:
        """Return the kind of the kernel whose arithmetic rounds the output of a call."""
        real = [x for x in call.inputs if is_real(x)]
        if self.placement.kinds[id(call)] in ("float", "front"):
            return "float" if all(map(is_real, call.outputs)) else None
        rounded = all(map(self.placement.is_rounded, real))
        return kernel_kind(call) if rounded and real else None

    def _layer(self, call: Call) -> Any:
        name = f"{call.path}_unrounded" if call.path in self._renamed else call.path
        if not isinstance(call.layer, keras.layers.Layer):
            return copy_layer(call.layer, name=name)
        if call.path not in self._layers:
            self._layers[call.path] = layer = self._make(call, name)
            weights = [np.asarray(weight) for weight in call.layer.weights]
            self._finish.append(lambda: _set_weights(layer, weights, self.scales.get(call.path)))
        return self._layers[call.path]

    def _make(self, call: Call, name: str) -> keras.layers.Layer:
        layer = call.layer
        if self.placement.kinds[id(call)] != "kernel":
            return copy_layer(layer, name=name)
        kernel, options, notes = _kernel(layer), {}, []
        if isinstance(layer, keras.layers.Dense):
            options["per_tensor"] = self._dense_per_tensor
        if self.rounding.bits != 8 and isinstance(layer, _FOUR_BITS):
            options["bits"] = self.rounding.bits
            notes.append(f"{self.rounding.bits} bits per weight")
        if self.rounding.keep_zeros and is_pruned([kernel]):
            options["keep_zeros"] = True
            notes.append(f"{zero_fraction([kernel]):.0%} zeros preserved")
        if self.rounding.keep_clusters and _has_clusters(kernel):
            options["clusters"] = np.unique(kernel).size
            notes.append(f"{options['clusters']} values preserved")
        if call.path in self.scales and "clusters" not in options:
            options["has_factors"] = True
        self.notes[call.path] = ", ".join(notes)
        return ROUNDED[type(layer)].from_config({**layer.get_config(), **options, "name": name})


def _folded_scales(primitive: PrimitiveModel) -> dict[str, np.ndarray]:
    """Return by the name of a layer the scales of the normalization folded into its kernel."""
    scales, calls = {}, primitive.graph.calls
    for layer in primitive.model.layers:
        path = primitive.origins.get(layer.name)
        # Of a decomposed layer, a part of another type has the kernel.
        if path in primitive.folds and type(calls[path][0].layer) is type(layer):
            scales[layer.name], _ = scale_and_shift(calls[primitive.folds[path]][0].layer)
    return scales


def _kernel(layer: keras.layers.Layer) -> np.ndarray:
    return np.asarray(getattr(layer, ROUNDED[type(layer)].kernel_name))


def _has_clusters(kernel: np.ndarray) -> bool:
    return any(is_clustered(kernel, per_channel) for per_channel in (False, True))


def _keep_in_float(tensor: Any) -> Any:
    return FloatBarrier(dtype="float32")(tensor)


def round_constant(value: Any) -> np.ndarray:
    """Return a constant as LiteRT stores it in 8 bits."""
    value = np.asarray(value, "float64")
    low, high = min(value.min(), 0.0), max(value.max(), 0.0)
    step = max(high - low, 1e-12) / STEPS
    below = np.floor(-low / step + 0.5)
    rounded = np.clip(np.round(value / step), -below, STEPS - below) * step
    return rounded.astype("float32")


def _set_weights(
    layer: keras.layers.Layer, weights: list[np.ndarray], scales: np.ndarray | None
) -> None:
    if isinstance(layer, RoundedKernel):
        for variable, value in zip(layer.float_weights, weights, strict=True):
            variable.assign(value)
        layer.preserve()
        if layer.has_factors:
            layer.set_factors(scales)
    else:
        layer.set_weights(weights)


def _fresh_input(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)


def _list_layers(
    primitive: PrimitiveModel,
    placement: Placement,
    notes: dict[str, str],
    skip: Collection[str],
) -> LayerPlans:
    """Return what happens to each layer of the student."""
    kinds: dict[str, set[str]] = {}
    details: dict[str, list[str]] = {}
    for path, calls in placement.graph.calls.items():
        origin = primitive.origins.get(path)
        kinds.setdefault(origin, set()).update(placement.kinds[id(c)] for c in calls)
        details.setdefault(origin, []).extend(filter(None, [notes.get(path)]))
    folded = {norm: layer for layer, norm in primitive.folds.items()}
    listed = []
    for path, calls in primitive.graph.calls.items():
        if isinstance(calls[0].layer, keras.Model) or path not in kinds:
            continue
        kind, reasons = kinds[path], list(details[path])
        if path in folded:
            action, reasons = "rewritten", [f"folded into '{folded[path]}'"]
        elif path in skip:
            action, reasons = "kept", ["skipped"]
        elif "float" in kind and "kernel" not in kind:
            action, reasons = "kept", ["no 8-bit form, in float"]
        elif "front" in kind:
            action, reasons = "kept", ["before the quantized part, in float"]
        else:
            action = "quantized"
            reasons.insert(0, "weights and output" if "kernel" in kind else "output")
            if "float" in kind:
                reasons.append("products of activations in float")
        if path in primitive.folds:
            reasons.append(f"'{primitive.folds[path]}' folded into it")
        listed.append(LayerPlan(path, type(calls[0].layer).__name__, action, ", ".join(reasons)))
    return LayerPlans(listed)
