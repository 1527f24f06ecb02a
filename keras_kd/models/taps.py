"""Taps: named tensors in a model, all read in one forward pass."""

import difflib
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
from keras_kd.models.keras_compat import get_mask, set_mask
from keras_kd.models.logits import (
    input_is_logits,
    inspect_output,
    log_odds,
    log_probabilities,
    trace_logits,
)


@dataclass(frozen=True)
class Tap:
    """A named tensor in a model.

    Args:
        name: A layer's name, `outer/inner` inside a nested model, an output's name, or `None` for
            the model's single output. Defaults to `None`.
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

    Raises:
        ValueError: If a tap does not exist or is ambiguous, an output may be logits or
            probabilities, or a declaration contradicts a visible activation.
    """

    def __init__(
        self,
        model: keras.Model,
        taps: Sequence[Tap],
        outputs: Declaration = "auto",
        training: bool = False,
    ) -> None:
        check_declaration(outputs, f"`outputs` of '{model.name}'")
        self.model = model
        self.taps = tuple(dict.fromkeys(taps))
        self.training = training
        self.declared = outputs
        #: The activation of each tap: "softmax" or "sigmoid" if the model applies it, or `None`.
        self.activations: dict[Tap, str | None] = {}
        #: Shapes of the model's outputs by name, in order.
        self.output_shapes: dict[str, tuple] = {}
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
            values[tap] = self._to_logits(tap, value) if tap in self._converted else value
        return outputs, values

    def _to_logits(self, tap: Tap, probabilities: Any) -> Any:
        log_p = log_probabilities(probabilities)
        logits = log_odds(log_p) if self.kinds[tap] == "sigmoid" else log_p
        return set_mask(logits, get_mask(probabilities))

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
        self._set_output_shapes(named_outputs(graph.outputs, graph.output_names))
        for tap in self.taps:
            if tap.logits:
                self._resolve_logits(tap, graph)
        tensors = {tap: self._tensor(graph, tap) for tap in self.taps}
        sources = {tap: self._source(graph, tap, tensor) for tap, tensor in tensors.items()}
        return sources, {tap: tuple(tensor.shape) for tap, tensor in tensors.items()}

    def _source(self, graph: Graph, tap: Tap, tensor: keras.KerasTensor) -> TapSource:
        if self.activations.get(tap) and tap not in self._converted:
            origin, layout_calls = trace_logits(graph, tensor)
            target = "input" if input_is_logits(origin) else "preactivation"
            return TapSource(Hook(origin.layer, target), tuple(layout_calls))
        if self._is_output(tap):
            return TapSource()
        return TapSource(Hook(graph.calls[tap.name][0].layer, "output"))

    def _is_output(self, tap: Tap) -> bool:
        return tap.name is None or tap.name in self.output_shapes

    def _set_output_shapes(self, named: dict[str, Any]) -> None:
        self.output_shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
        check_declared_names(self.declared, self.output_names, self.model.name)

    def _resolve_logits(self, tap: Tap, graph: Graph) -> None:
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
        self._set_kind(tap, kind, converted, self._tensor(graph, tap).shape)

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
        return single_tensor(self.model, graph.calls, tap.name, outputs)

    def _read_outputs_only(
        self, cause: OpaqueModelError
    ) -> tuple[dict[Tap, TapSource], dict[Tap, tuple]]:
        """Handle a model whose graph cannot be read: outputs only, and only if declared."""
        outputs = self.model(built_inputs(self.model), training=self.training)
        named = named_outputs(outputs)
        self._set_output_shapes(named)
        shapes = {tap: tuple(_output_at(self.model, named, tap).shape) for tap in self.taps}
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
    return not graph.traced or all(
        isinstance(call.layer, keras.layers.Layer) for call in (origin, *layout_calls)
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


def single_tensor(
    model: keras.Model, calls: dict[str, list[Call]], name: str, outputs: dict[str, Any]
) -> keras.KerasTensor:
    """Return the only tensor of a layer.

    Raises:
        ValueError: If there is no such layer, or it returns more than one tensor.
    """
    found = calls.get(name)
    if found is None:
        known = [*calls, *outputs]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[-3:]
        raise ValueError(
            f"'{model.name}' has no layer or output '{name}'. Did you mean one of "
            f"{', '.join(repr(n) for n in near)}?"
        )
    tensors = [tensor for call in found for tensor in call.outputs]
    if len(tensors) > 1:
        raise ValueError(
            f"'{name}' of '{model.name}' returns {len(tensors)} tensors (it is called "
            f"{len(found)} times), so the tap is ambiguous. Tap a layer that returns one."
        )
    return tensors[0]
