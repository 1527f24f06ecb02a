"""Places of taps: which tensor of which call of a layer a name stands for.

A layer that is called once and returns one tensor is a tap by its path. `path@1` is the second call
of a layer, in the order in which the model runs them; `path:1` is the second tensor that a call
returns; `path@1:0` is both. The order of the code is not used: a copy of a model does not have it.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.models.activation_range import activation_ranges
from keras_kd.models.graph import Call, Graph
from keras_kd.models.hooks import Hook

_SUFFIXES = re.compile(r"(.+?)(?:@(\d+))?(?::(\d+))?")


@dataclass(frozen=True)
class Place:
    """A tensor of a graph.

    Attributes:
        name: The shortest name of a tap there.
        call: The call that returns it.
        index: Its position in what the call returns, as a flat list.
    """

    name: str
    call: Call
    index: int = 0

    @property
    def tensor(self) -> keras.KerasTensor:
        """The tensor."""
        return self.call.outputs[self.index]


def list_places(graph: Graph, path: str) -> list[Place]:
    """Return the tensors of a layer in the order of its calls."""
    calls = graph.calls[path]
    return [
        Place(
            path + f"@{number}" * (len(calls) > 1) + f":{index}" * (len(call.outputs) > 1),
            call,
            index,
        )
        for number, call in enumerate(calls)
        for index, tensor in enumerate(call.outputs)
        if isinstance(tensor, keras.KerasTensor)
    ]


def find_place(model: keras.Model, graph: Graph, name: str, outputs: dict[str, Any]) -> Place:
    """Return the tensor that the name of a tap stands for.

    Args:
        model: The model, for messages.
        graph: Its graph.
        name: A path, with or without suffixes.
        outputs: The outputs of the model by name, for messages.

    Raises:
        ValueError: If there is no such layer, call or tensor, or there are several.
    """
    path, number, index = _split(graph, name)
    if path not in graph.calls and activation_ranges(model):
        path = plain_name(path)  # A quantized model is flat.
    if path not in graph.calls:
        known = [*graph.calls, *outputs]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[-3:]
        raise ValueError(
            f"'{model.name}' has no layer or output '{name}'. Did you mean one of "
            f"{', '.join(repr(n) for n in near)}?"
        )
    places, calls = list_places(graph, path), graph.calls[path]
    call = None if number is None else calls[number] if number < len(calls) else ()
    found = [
        place
        for place in places
        if (call is None or place.call is call) and index in (None, place.index)
    ]
    if len(found) != 1:
        raise ValueError(
            f"'{path}' of '{model.name}' returns {len(places)} tensors (it is called {len(calls)} "
            f"times), and '{name}' stands for {len(found)} of them, so the tap is ambiguous. "
            f"Choose one of {', '.join(repr(place.name) for place in places)}."
        )
    return found[0]


def plain_name(tap: str) -> str:
    """Return the name of a tap as a part of the name of a layer, without `/`, `@` and `:`."""
    return re.sub("[/@:]", "_", tap)


def hook_at(graph: Graph, call: Call, target: str = "output", index: int = 0) -> Hook:
    """Return a hook on one call of a layer.

    Args:
        graph: The graph of the call.
        call: The call.
        target: As for `Hook`. Defaults to `"output"`.
        index: Position of the tensor in the output. Defaults to 0.

    Raises:
        ValueError: If the layer is called several times in code whose order is not known.
    """
    if not has_known_order(graph, call):
        raise ValueError(
            f"The layer '{call.path}' is called {len(graph.runs[id(call.layer)])} times in a model "
            f"with {graph.traced}, custom layers or subclassed models, so the order in which its "
            "calls run is not known. Tap a layer that is called once, or build the model with the "
            "functional API."
        )
    runs = graph.runs[id(call.layer)]
    position = next(i for i, other in enumerate(runs) if other is call)
    return Hook(call.layer, target, index, position, len(runs))


def has_known_order(graph: Graph, call: Call) -> bool:
    """Return whether the graph tells in which order the calls of a layer run."""
    return not graph.traced or len(graph.runs[id(call.layer)]) == 1


def _split(graph: Graph, name: str) -> tuple[str, int | None, int | None]:
    """Return the path, the number of the call and the number of the tensor in the name of a tap."""
    if name in graph.calls:
        return name, None, None  # A layer may be called 'a:1'.
    path, number, index = _SUFFIXES.fullmatch(name).groups() if name else (name, None, None)
    return path, number and int(number), index and int(index)
