"""Taps: named tensors in a model, all read in one forward pass."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from keras_kd.models.declaration import (
    DECLARE,
    Declaration,
    check_declaration,
    check_declared_names,
    contradiction_message,
    declared_kind,
    resolve_kind,
    unknown_output_message,
)
from keras_kd.models.graph import Call, Graph, OpaqueModelError, built_inputs, open_graph
from keras_kd.models.hooks import Hook, Recorder
from keras_kd.models.inputs import call_model
from keras_kd.models.keras_compat import get_mask, nested_layers, set_mask
from keras_kd.models.layouts import (
    Layouts,
    data_formats,
    shape_from_channels_last,
    shape_with_channels_last,
    to_channels_last,
)
from keras_kd.models.logits import (
    input_is_logits,
    inspect_output,
    log_odds,
    log_probabilities,
    trace_logits,
)
from keras_kd.models.tap_places import find_place, has_known_order, hook_at


@dataclass(frozen=True)
class Tap:
    """A named tensor in a model.

    Args:
        name: A layer's name, `outer/inner` inside a nested model, `layer@1` for the second call of
            a shared layer, `layer:1` for the second tensor that a layer returns, an output's name,
            or `None` for the model's single output. Defaults to `None`.
        logits: Whether to recover the logits if the tensor is probabilities. Defaults to `False`.
    """

    name: str | None = None
    logits: bool = False

    def __str__(self) -> str:
        return "the output" if self.name is None else f"'{self.name}'"


@dataclass(frozen=True)
class TapSource:
    """How to read the value of a tap.

    Attributes:
        hook: The tensor to capture, or `None` for an output of the model.
        layout_calls: Calls to repeat on the captured tensor, in order.
    """

    hook: Hook | None = None
    layout_calls: tuple[Call, ...] = ()


class TappedModel:
    """A model that returns its outputs and the values at some taps, in one forward pass.

    The model itself runs, and hooks capture the taps. This is not a Keras object, so an owner (such
    as a frozen teacher) does not track its weights.

    Args:
        model: A built `keras.Model`.
        taps: The taps to read.
        outputs: Whether the model's outputs are `"logits"`, `"probabilities"` or `"values"`
            (numbers, read unchanged); `"auto"` detects it from the graph; or a dict from output to
            one of these. A single value for several outputs applies to those whose activation is
            not visible. Defaults to `"auto"`.
        training: The `training` argument of the model. Defaults to `False`.
        own_layout: Whether the values of the taps keep the layout of the model. By default their
            channels (or classes) are moved to the last axis. Defaults to `False`.

    Raises:
        ValueError: If a tap does not exist or is ambiguous, an output may be logits or
            probabilities, a declaration contradicts a visible activation, or the axis of the
            channels at a tap is not known.
    """

    #: Whether training changes the weights of the model itself.
    trains_model = True

    def __init__(
        self,
        model: keras.Model,
        taps: Sequence[Tap],
        outputs: Declaration = "auto",
        training: bool = False,
        own_layout: bool = False,
    ) -> None:
        check_declaration(outputs, f"`outputs` of '{model.name}'")
        self.model = model
        self.taps = tuple(dict.fromkeys(taps))
        self.training = training
        self.own_layout = own_layout
        self.declared = outputs
        #: The activation of each tap: "softmax" or "sigmoid" if the model applies it, or `None`.
        self.activations: dict[Tap, str | None] = {}
        #: Kinds of the model's outputs by name, as `inspect_output` returns them.
        self.heads: dict[str, str] = {}
        #: Shapes of the model's outputs by name, in order, with the classes on the last axis.
        self.output_shapes: dict[str, tuple] = {}
        #: The axis of the channels (or classes) of each tap, and of each output by name, as the
        #: model has it.
        self.channel_axes: dict[Tap | str, int] = {}
        #: The kind of each tap of logits: `"logits"`, `"softmax"`, `"sigmoid"`, `"values"` (read
        #: unchanged) or `"probabilities"`, whose activation is not visible: log p is returned, of
        #: which `log_odds` makes the logits of a sigmoid.
        self.kinds: dict[Tap, str] = {}
        # Probabilities from which the logits are computed, because hooks cannot capture them.
        self._converted: set[Tap] = set()
        #: How to read each tap.
        self.sources: dict[Tap, TapSource]
        try:
            self.sources, self.shapes = self._read_graph()
        except OpaqueModelError as error:
            self.sources, self.shapes = self._read_outputs_only(error)

    def __call__(self, inputs: Any) -> tuple[Any, dict[Tap, Any]]:
        """Run the model once on a batch.

        Returns:
            The model's outputs, and a dict from tap to tensor.
        """
        hooks = [source.hook for source in self.sources.values() if source.hook]
        outputs, captured = self.run(inputs, hooks)
        named = named_outputs(outputs, self.output_names)
        values = {}
        for tap, source in self.sources.items():
            value = captured(source.hook) if source.hook else _output_at(self.model, named, tap)
            if source.hook and self.activations.get(tap) and self._is_output(tap):
                # The logits have the mask of the probabilities.
                set_mask(value, get_mask(_output_at(self.model, named, tap)))
            for call in source.layout_calls:
                value = call.layer(value, *call.args[1:], **call.kwargs)
            value = self._to_logits(tap, value) if tap in self._converted else value
            values[tap] = value if self.own_layout else self.arrange(tap, value)
        return outputs, values

    def arrange(self, place: Tap | str, value: Any) -> Any:
        """Return a value of the layout of a tap or output with its channels on the last axis.

        Args:
            place: The tap, or the name of the output.
            value: Of the model's own layout, such as labels of the shape of the output. A value of
                another rank, such as class indices, is returned unchanged.
        """
        shape = self.shapes[place] if isinstance(place, Tap) else self.output_shapes[place]
        axis = self.channel_axes[place]
        if value is None or axis == len(shape) - 1 or len(value.shape) != len(shape):
            return value
        return to_channels_last(value, axis)

    def _to_logits(self, tap: Tap, probabilities: Any) -> Any:
        log_p = log_probabilities(probabilities)
        logits = log_odds(log_p) if self.kinds[tap] == "sigmoid" else log_p
        return set_mask(logits, get_mask(probabilities))

    def for_inference(self) -> "TappedModel":
        """Return the same model and taps in inference mode."""
        model = copy.copy(self)
        model.training = False
        return model

    def own_shape(self, place: Tap | str) -> tuple:
        """Return the shape of a tap or output as the model has it; see `arrange`."""
        shape = self.shapes[place] if isinstance(place, Tap) else self.output_shapes[place]
        if self.own_layout and isinstance(place, Tap):
            return shape
        return shape_from_channels_last(shape, self.channel_axes[place])

    def run(self, inputs: Any, hooks: Sequence[Hook]) -> tuple[Any, Callable[[Hook], Any]]:
        """Run the model once and capture the hooks; override it if the model runs elsewhere.

        Returns:
            The model's outputs, and a function from a hook to the captured tensor.
        """
        with Recorder(hooks) as recorder:
            outputs = call_model(self.model, inputs, training=self.training)
        return outputs, recorder.value

    def _read_graph(self) -> tuple[dict[Tap, TapSource], dict[Tap, tuple]]:
        inside = [tap.name for tap in self.taps if tap.name]
        graph = open_graph(self.model, inside=inside, training=self.training)
        layouts, outputs = Layouts(graph), named_outputs(graph.outputs, graph.output_names)
        axes = {name: layouts.channel_axis(tensor) for name, tensor in outputs.items()}
        self._set_output_shapes(outputs, axes)
        self.heads = {name: inspect_output(graph, one).kind for name, one in outputs.items()}
        tensors = {tap: self._tensor(graph, tap) for tap in self.taps}
        axes = {tap: layouts.channel_axis(tensor) for tap, tensor in tensors.items()}
        shapes = self._arranged_shapes(tensors, axes)
        for tap in self.taps:
            if tap.logits:
                self._resolve_logits(tap, graph, shapes[tap])
        return {tap: self._source(graph, tap, tensors[tap]) for tap in self.taps}, shapes

    def _arranged_shapes(
        self, tensors: dict[Tap, Any], axes: dict[Tap, int | None]
    ) -> dict[Tap, tuple]:
        """Return the shapes of the taps as `__call__` returns them."""
        unknown = [tap for tap, axis in axes.items() if axis is None and not self.own_layout]
        if unknown:
            raise ValueError(
                f"The axis of the channels at {unknown[0]} of '{self.model.name}' is not known: "
                "layers of the model have data_format='channels_first', and a layer between them "
                "and the tap may have moved the channels. Tap another layer, or move the channels "
                "to the last axis with keras.layers.Permute before the tap."
            )
        shapes = {tap: tuple(tensor.shape) for tap, tensor in tensors.items()}
        known = {tap: len(shapes[tap]) - 1 if a is None else a for tap, a in axes.items()}
        self.channel_axes |= known
        if self.own_layout:
            return shapes
        return {tap: shape_with_channels_last(shape, known[tap]) for tap, shape in shapes.items()}

    def _source(self, graph: Graph, tap: Tap, tensor: keras.KerasTensor) -> TapSource:
        if self.activations.get(tap) and tap not in self._converted:
            origin, layout_calls = trace_logits(graph, tensor)
            target = "input" if input_is_logits(origin) else "preactivation"
            return TapSource(hook_at(graph, origin, target), tuple(layout_calls))
        if self._is_output(tap):
            return TapSource()
        place = find_place(self.model, graph, tap.name, {})
        return TapSource(hook_at(graph, place.call, "output", place.index))

    def _is_output(self, tap: Tap) -> bool:
        return tap.name is None or tap.name in self.output_shapes

    def _set_output_shapes(self, named: dict[str, Any], axes: dict[str, int | None]) -> None:
        for name, tensor in named.items():
            shape, axis = tuple(tensor.shape), axes.get(name)
            self.channel_axes[name] = len(shape) - 1 if axis is None else axis
            self.output_shapes[name] = shape_with_channels_last(shape, self.channel_axes[name])
        check_declared_names(self.declared, self.output_names, self.model.name)

    def _resolve_logits(self, tap: Tap, graph: Graph, shape: tuple) -> None:
        """Decide how to compute the logits at a tap."""
        declared = self._declaration(tap)
        found = inspect_output(graph, self._tensor(graph, tap))
        kind = resolve_kind(declared, found.kind)
        if kind is None and self._is_output(tap) and not self._is_for_others():
            raise ValueError(contradiction_message(self.model.name, declared, found))
        kind = kind or found.kind
        if kind == "unknown":
            raise ValueError(f"{unknown_output_message(self.model.name, found)} {DECLARE}")
        visible = kind in ("softmax", "sigmoid")
        converted = visible and not _can_hook(graph, self._tensor(graph, tap))
        self._set_kind(tap, kind, converted, shape)

    def _set_kind(self, tap: Tap, kind: str, converted: bool, shape: Sequence[int | None]) -> None:
        if kind == "probabilities" or converted:
            self._converted.add(tap)
            # A softmax of a single unit would be constant.
            kind = "sigmoid" if shape[-1] == 1 else kind
        self.kinds[tap] = kind
        self.activations[tap] = kind if kind in ("softmax", "sigmoid") else None

    def _declaration(self, tap: Tap) -> str:
        hidden = not self._is_output(tap) and not isinstance(self.declared, str)
        return "auto" if hidden else declared_kind(self.declared, tap.name, self.output_names)

    def _is_for_others(self) -> bool:
        """Whether a declaration that contradicts one output may be meant for another one."""
        return isinstance(self.declared, str) and len(self.output_shapes) > 1

    def _tensor(self, graph: Graph, tap: Tap) -> keras.KerasTensor:
        outputs = named_outputs(graph.outputs, graph.output_names)
        if tap.name is None:
            return _single(self.model, outputs)
        if tap.name in outputs:
            return outputs[tap.name]
        return find_place(self.model, graph, tap.name, outputs).tensor

    def _read_outputs_only(
        self, cause: OpaqueModelError
    ) -> tuple[dict[Tap, TapSource], dict[Tap, tuple]]:
        """Handle a model whose graph cannot be read: outputs only, and only if declared."""
        outputs = self.model(built_inputs(self.model), training=self.training)
        named = named_outputs(outputs)
        self._set_output_shapes(named, {})
        self.heads = dict.fromkeys(named, "unknown")
        tensors = {tap: _output_at(self.model, named, tap) for tap in self.taps}
        first = any("channels_first" in data_formats(layer) for layer in nested_layers(self.model))
        axes = {
            tap: None if first and len(x.shape) > 2 else len(x.shape) - 1
            for tap, x in tensors.items()
        }
        shapes = self._arranged_shapes(tensors, axes)
        for tap in self.taps:
            if tap.logits:
                self._resolve_opaque(tap, cause, shapes[tap])
        return {tap: TapSource() for tap in self.taps}, shapes

    def _resolve_opaque(self, tap: Tap, cause: OpaqueModelError, shape: tuple) -> None:
        declared = self._declaration(tap)
        if declared == "auto":
            raise ValueError(
                f"The outputs of '{self.model.name}' may be logits or probabilities. {DECLARE} "
                f"The cause: {cause}"
            )
        self._set_kind(tap, declared, False, shape)

    @property
    def output_names(self) -> list[str]:
        """Names of the model's outputs, in order."""
        return list(self.output_shapes)

    def output_of(self, name: str | None) -> str | None:
        """Return the output that a tap is of: itself, or the only one; `None` for a layer's tap."""
        names = self.output_names
        return names[0] if name is None and len(names) == 1 else name if name in names else None

    @property
    def output_axes(self) -> dict[str, int]:
        """The axis of the channels (or classes) of each output, by name."""
        return {name: self.channel_axes[name] for name in self.output_shapes}


def named_outputs(outputs: Any, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the outputs of a model by name: the keys of a dict, or `names`, or `output_0`, ..."""
    if isinstance(outputs, dict):
        return dict(outputs)
    flat = tree.flatten(outputs)
    names = names or [f"output_{i}" for i in range(len(flat))]
    return dict(zip(names, flat, strict=True))


def _can_hook(graph: Graph, tensor: keras.KerasTensor) -> bool:
    """Return whether hooks can capture the logits; they cannot in the ops of a traced `call`."""
    origin, layout_calls = trace_logits(graph, tensor)
    return not graph.traced or (
        has_known_order(graph, origin)
        and all(isinstance(call.layer, keras.layers.Layer) for call in (origin, *layout_calls))
    )


def _single(model: keras.Model, outputs: dict[str, Any]) -> Any:
    if len(outputs) > 1:
        raise ValueError(
            f"'{model.name}' has several outputs, so a tap must name one of them: "
            f"{sorted(outputs)}. Received: tap=None"
        )
    return next(iter(outputs.values()))


def _output_at(model: keras.Model, named: dict[str, Any], tap: Tap) -> Any:
    if tap.name is None:
        return _single(model, named)
    if tap.name not in named:
        raise ValueError(
            f"Only the outputs {sorted(named)} of '{model.name}' can be tapped, because its `call` "
            f"does not run on symbolic tensors. Received: tap={tap}"
        )
    return named[tap.name]
