"""Named places in a model, and the model that shows them all in one forward pass."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops, tree

from keras_kd.models.graph import Call, Graph, OpaqueModelError, built_inputs, open_graph
from keras_kd.models.hooks import Recorder, Watch
from keras_kd.models.logits import (
    OUTPUTS,
    Verdict,
    inspect_output,
    takes_logits,
    unknown_output_message,
    way_to_logits,
)


@dataclass(frozen=True)
class Tap:
    """A named place in a model.

    Args:
        name: A layer's name, `outer/inner` inside a nested model, an output's name, or `None` for
            the model's single output.
        logits: Whether the logits are wanted where the place holds probabilities.
    """

    name: str | None = None
    logits: bool = False

    def __str__(self) -> str:
        return "the output" if self.name is None else f"'{self.name}'"


class TappedModel:
    """A model that gives its outputs and what stands at some taps, in one forward pass.

    The model itself runs, and what passes the taps is noted. It is no Keras object, so that whoever
    holds one (a frozen teacher, say) does not track its weights.

    Args:
        model: A built `keras.Model`.
        taps: The places to show.
        outputs: What the model's outputs are: `"logits"`, `"probabilities"` or `"auto"`, which
            reads it off the graph. Defaults to `"auto"`.
        training: The `training` that the model is called with. Defaults to `False`.

    Raises:
        ValueError: When a tap does not exist or is ambiguous, or when it cannot be told whether an
            output is logits.
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
        #: By tap: "softmax" or "sigmoid" where the model itself applies it, else `None`.
        self.activations: dict[Tap, str | None] = {}
        #: Shapes of the model's own outputs, by name, in order.
        self.output_shapes: dict[str, tuple] = {}
        self._from_probabilities: set[Tap] = set()
        #: By tap: how its value is had.
        self.places: dict[Tap, Place]
        try:
            self.places, self.shapes = self._read_graph()
        except OpaqueModelError as error:
            self.places, self.shapes = self._read_outputs_only(error)

    def __call__(self, inputs: Any) -> tuple[Any, dict[Tap, Any]]:
        """Runs the model once.

        Args:
            inputs: A batch, as the model takes it.

        Returns:
            The model's outputs, and a dict from tap to tensor.
        """
        watches = [place.watch for place in self.places.values() if place.watch]
        outputs, noted = self.run(inputs, watches)
        named = named_outputs(outputs, self.output_names)
        seen = {}
        for tap, place in self.places.items():
            value = noted(place.watch) if place.watch else _output_at(self.model, named, tap)
            if place.watch and self.activations.get(tap) and self._is_output(tap):
                # The logits belong to the same steps as the probabilities.
                value._keras_mask = getattr(_output_at(self.model, named, tap), "_keras_mask", None)
            for move in place.moves:
                value = move.layer(value, *move.args[1:], **move.kwargs)
            seen[tap] = _log(value) if tap in self._from_probabilities else value
        return outputs, seen

    def run(self, inputs: Any, watches: Sequence[Watch]) -> tuple[Any, Callable[[Watch], Any]]:
        """Runs the model once and notes what is watched.

        A subclass whose model runs elsewhere overrides it.

        Args:
            inputs: A batch, as the model takes it.
            watches: What to note.

        Returns:
            The model's outputs, and a function from a watch to what was noted.
        """
        with Recorder(watches) as recorder:
            outputs = self.model(inputs, training=self.training)
        return outputs, recorder.value

    def _read_graph(self) -> tuple[dict[Tap, "Place"], dict[Tap, tuple]]:
        inside = [tap.name for tap in self.taps if tap.name]
        graph = open_graph(self.model, inside=inside, training=self.training)
        self._note_outputs(named_outputs(graph.outputs, graph.output_names))
        for tap in self.taps:
            if tap.logits:
                self._settle(tap, graph)
        tensors = {tap: self._tensor(graph, tap) for tap in self.taps}
        places = {tap: self._place(graph, tap, tensor) for tap, tensor in tensors.items()}
        return places, {tap: tuple(tensor.shape) for tap, tensor in tensors.items()}

    def _place(self, graph: Graph, tap: Tap, tensor: keras.KerasTensor) -> "Place":
        if self.activations.get(tap):
            origin, moves = way_to_logits(graph, tensor)
            what = "input" if takes_logits(origin) else "preactivation"
            return Place(Watch(origin.layer, what), tuple(moves))
        if self._is_output(tap):
            return Place()
        return Place(Watch(graph.calls[tap.name][0].layer, "output"))

    def _is_output(self, tap: Tap) -> bool:
        return tap.name is None or tap.name in self.output_shapes

    def _note_outputs(self, named: dict[str, Any]) -> None:
        self.output_shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}

    def _settle(self, tap: Tap, graph: Graph) -> None:
        """Decides how the logits at a tap are had."""
        verdict = Verdict("logits", None)
        if self.declared != "logits":
            verdict = inspect_output(graph, self._tensor(graph, tap))
        probabilities = verdict.kind in ("softmax", "sigmoid")
        if probabilities and not _in_reach(graph, self._tensor(graph, tap)):
            verdict, probabilities = Verdict("unknown", verdict.call), False
        if verdict.kind == "unknown" and self.declared == "probabilities":
            self._from_probabilities.add(tap)
        elif verdict.kind == "unknown":
            raise ValueError(
                f"{unknown_output_message(self.model.name, verdict)} Say which it is: "
                '`outputs="logits"` or `outputs="probabilities"` (for a student `student_outputs=...`).'
            )
        elif verdict.kind == "logits" and self.declared == "probabilities":
            raise ValueError(
                f"'{self.model.name}' was said to give probabilities, but "
                f"'{verdict.call.path}' gives logits. Received: outputs='probabilities'"
            )
        self.activations[tap] = verdict.kind if probabilities else None

    def _tensor(self, graph: Graph, tap: Tap) -> keras.KerasTensor:
        outputs = named_outputs(graph.outputs, graph.output_names)
        if tap.name is None:
            return _single(self.model, outputs)
        if tap.name in outputs:
            return outputs[tap.name]
        return only_tensor(self.model, graph.calls, tap.name, outputs)

    def _read_outputs_only(
        self, cause: OpaqueModelError
    ) -> tuple[dict[Tap, "Place"], dict[Tap, tuple]]:
        """For a model whose graph cannot be read: outputs only, and only if declared."""
        for tap in self.taps:
            if tap.logits and self.declared == "auto":
                raise ValueError(
                    f"It cannot be told whether '{self.model.name}' gives logits or "
                    'probabilities. Say which it is: `outputs="logits"` or '
                    '`outputs="probabilities"` (for a student `student_outputs=...`). Why: '
                    f"{cause}"
                )
            if tap.logits and self.declared == "probabilities":
                self._from_probabilities.add(tap)
        outputs = self.model(built_inputs(self.model), training=self.training)
        named = named_outputs(outputs)
        self._note_outputs(named)
        shapes = {tap: tuple(_output_at(self.model, named, tap).shape) for tap in self.taps}
        return {tap: Place() for tap in self.taps}, shapes

    @property
    def output_names(self) -> list[str]:
        """Names of the model's own outputs, in order."""
        return list(self.output_shapes)


def named_outputs(outputs: Any, names: Sequence[str] = ()) -> dict[str, Any]:
    """The outputs of a model by name.

    Args:
        outputs: What the model returned, symbolic or not.
        names: Names that Keras gives the outputs, if it does.

    Returns:
        A dict from name to output: the keys of a dict, else `names`, else `output_0`, ...
    """
    if isinstance(outputs, dict):
        return dict(outputs)
    flat = tree.flatten(outputs)
    names = names or [f"output_{i}" for i in range(len(flat))]
    return dict(zip(names, flat, strict=True))


@dataclass(frozen=True)
class Place:
    """How a tap's value is had: what to watch (else an output), and how to move it after that."""

    watch: Watch | None = None
    moves: tuple[Call, ...] = ()


def _in_reach(graph: Graph, tensor: keras.KerasTensor) -> bool:
    """Whether the softmax is an object that runs; in a subclassed `call` keras.ops are none."""
    origin, moves = way_to_logits(graph, tensor)
    return not graph.traced or all(
        isinstance(call.layer, keras.layers.Layer) for call in (origin, *moves)
    )


def _log(probabilities: Any) -> Any:
    # The least normal number: log(0) would make NaN of a probability that is nought.
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
            f"'{model.name}' shows only its outputs {sorted(named)}, since its `call` does not run "
            f"on symbolic tensors. Received: tap={tap}"
        )
    return named[tap.name]


def only_tensor(
    model: keras.Model, calls: dict[str, list[Call]], name: str, outputs: dict[str, Any]
) -> keras.KerasTensor:
    """The one tensor of a layer or of an output.

    Args:
        model: The model, for the messages.
        calls: The calls of its opened graph.
        name: The layer's name, `outer/inner` inside a nested model.
        outputs: The outputs of the model, by name.

    Returns:
        A symbolic tensor of the graph.

    Raises:
        ValueError: When there is no such layer, or it gives more than one tensor.
    """
    found = calls.get(name)
    if found is None:
        known = [*calls, *outputs]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[-3:]
        raise ValueError(
            f"'{model.name}' has no layer or output '{name}'. The nearest that it has: "
            f"{', '.join(repr(n) for n in near)}."
        )
    tensors = [tensor for call in found for tensor in call.outputs]
    if len(tensors) > 1:
        raise ValueError(
            f"'{name}' of '{model.name}' gives {len(tensors)} tensors (it is called "
            f"{len(found)} times), so it is no single place. Tap a layer that gives one."
        )
    return tensors[0]
