"""Taps: named tensors in a model, all read in one forward pass."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops, tree

from keras_kd.models.graph import Call, Graph, OpaqueModelError, built_inputs, open_graph
from keras_kd.models.hooks import Hook, Recorder
from keras_kd.models.keras_compat import get_mask, set_mask
from keras_kd.models.logits import (
    OUTPUTS,
    OutputKind,
    input_is_logits,
    inspect_output,
    trace_logits,
    unknown_output_message,
)

_DECLARE = (
    'Declare `outputs="logits"` or `outputs="probabilities"` (for a student `student_outputs=...`).'
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
        outputs: Whether the model's outputs are `"logits"` or `"probabilities"`; `"auto"` detects
            it from the graph. Defaults to `"auto"`.
        training: The `training` argument of the model. Defaults to `False`.

    Raises:
        ValueError: If a tap does not exist or is ambiguous, or an output may be logits or
            probabilities.
    """

    def __init__(
        self,
        model: keras.Model,
        taps: Sequence[Tap],
        outputs: str = "auto",
        training: bool = False,
    ) -> None:
        if outputs not in OUTPUTS:
            raise ValueError(
                f"`outputs` of '{model.name}' must be one of {OUTPUTS}. Received: {outputs!r}"
            )
        self.model = model
        self.taps = tuple(dict.fromkeys(taps))
        self.training = training
        self.declared = outputs
        #: The activation of each tap: "softmax" or "sigmoid" if the model applies it, or `None`.
        self.activations: dict[Tap, str | None] = {}
        #: Kinds of the model's outputs by name, as `inspect_output` returns them.
        self.heads: dict[str, str] = {}
        #: Shapes of the model's outputs by name, in order.
        self.output_shapes: dict[str, tuple] = {}
        self._from_probabilities: set[Tap] = set()
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
            values[tap] = _log(value) if tap in self._from_probabilities else value
        return outputs, values

    def run(self, inputs: Any, hooks: Sequence[Hook]) -> tuple[Any, Callable[[Hook], Any]]:
        """Run the model once and capture the hooks; override it if the model runs elsewhere.

        Returns:
            The model's outputs, and a function from a hook to the captured tensor.
        """
        with Recorder(hooks) as recorder:
            outputs = self.model(inputs, training=self.training)
        return outputs, recorder.value

    def _read_graph(self) -> tuple[dict[Tap, TapSource], dict[Tap, tuple]]:
        inside = [tap.name for tap in self.taps if tap.name]
        graph = open_graph(self.model, inside=inside, training=self.training)
        outputs = named_outputs(graph.outputs, graph.output_names)
        self._set_output_shapes(outputs)
        self.heads = {name: inspect_output(graph, one).kind for name, one in outputs.items()}
        for tap in self.taps:
            if tap.logits:
                self._resolve_logits(tap, graph)
        tensors = {tap: self._tensor(graph, tap) for tap in self.taps}
        sources = {tap: self._source(graph, tap, tensor) for tap, tensor in tensors.items()}
        return sources, {tap: tuple(tensor.shape) for tap, tensor in tensors.items()}

    def _source(self, graph: Graph, tap: Tap, tensor: keras.KerasTensor) -> TapSource:
        if self.activations.get(tap):
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

    def _resolve_logits(self, tap: Tap, graph: Graph) -> None:
        """Decide how to compute the logits at a tap."""
        found = OutputKind("logits", None)
        if self.declared != "logits":
            found = inspect_output(graph, self._tensor(graph, tap))
        probabilities = found.kind in ("softmax", "sigmoid")
        if probabilities and not _can_hook(graph, self._tensor(graph, tap)):
            found, probabilities = OutputKind("unknown", found.call), False
        if found.kind == "unknown" and self.declared == "probabilities":
            self._from_probabilities.add(tap)
        elif found.kind == "unknown":
            raise ValueError(f"{unknown_output_message(self.model.name, found)} {_DECLARE}")
        elif found.kind == "logits" and self.declared == "probabilities":
            raise ValueError(
                f"'{self.model.name}' is declared to return probabilities, but "
                f"'{found.call.path}' returns logits. Received: outputs='probabilities'"
            )
        self.activations[tap] = found.kind if probabilities else None

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
        for tap in self.taps:
            if tap.logits and self.declared == "auto":
                raise ValueError(
                    f"The outputs of '{self.model.name}' may be logits or probabilities. "
                    f"{_DECLARE} The cause: {cause}"
                )
            if tap.logits and self.declared == "probabilities":
                self._from_probabilities.add(tap)
        outputs = self.model(built_inputs(self.model), training=self.training)
        named = named_outputs(outputs)
        self._set_output_shapes(named)
        self.heads = dict.fromkeys(named, "unknown")
        shapes = {tap: tuple(_output_at(self.model, named, tap).shape) for tap in self.taps}
        return {tap: TapSource() for tap in self.taps}, shapes

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


def _log(probabilities: Any) -> Any:
    # The smallest normal float32: log(0) would give NaN gradients.
    probabilities = ops.cast(probabilities, "float32")
    return ops.log(ops.maximum(probabilities, 1.1754944e-38))


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
