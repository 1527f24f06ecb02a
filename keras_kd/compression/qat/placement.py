"""Where the tensors of a primitive model are rounded, as LiteRT's converter reads it."""

from collections.abc import Collection
from dataclasses import dataclass, field

import keras
from keras import tree

from keras_kd.compression.qat import layer_kinds
from keras_kd.compression.qat.layer_kinds import fixed_range, is_real, layer_kind
from keras_kd.compression.tfmot.convert import sort_calls
from keras_kd.models.graph import Call, Graph


@dataclass
class Placement:
    """The rounded tensors of a graph.

    Attributes:
        graph: The graph.
        kinds: How the output of each call is rounded (see `layer_kind`), by the call's id, or
            `"front"` for what prepares the input.
        ranges: The tensor whose range a rounded tensor has, by the id of the rounded tensor.
    """

    graph: Graph
    kinds: dict[int, str] = field(default_factory=dict)
    ranges: dict[int, keras.KerasTensor] = field(default_factory=dict)
    # The rounded tensor whose values a tensor has.
    _sources: dict[int, keras.KerasTensor] = field(default_factory=dict)

    def range_of(self, tensor: keras.KerasTensor) -> keras.KerasTensor | None:
        """Return the tensor whose range a tensor is rounded in, `None` if it is not rounded."""
        found = self.ranges.get(id(tensor))
        while found is not None and self.ranges[id(found)] is not found:
            found = self.ranges[id(found)]
        return found

    def round(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        """Return the rounded tensor whose values a tensor has; round it if there is none."""
        if id(tensor) not in self._sources:
            self._sources[id(tensor)] = self.ranges[id(tensor)] = tensor
        return self._sources[id(tensor)]

    def place(self, call: Call, kind: str) -> None:
        """Decide which tensors of a call are rounded."""
        self.kinds[id(call)] = kind
        inputs = [x for x in call.inputs if is_real(x)]
        if kind in ("float", "front"):
            return
        if kind == "pass":
            for output in call.outputs:
                if inputs and id(inputs[0]) in self._sources:
                    self._sources[id(output)] = self._sources[id(inputs[0])]
            return
        sources = [self.round(x) for x in inputs]
        (output,) = call.outputs
        if kind == "shared":
            self._share(sources)
            self._sources[id(output)] = sources[0]
            return
        self.round(output)
        if kind == "same":
            self._share([sources[0], output])

    def _share(self, tensors: list[keras.KerasTensor]) -> None:
        first = self.range_of(tensors[0])
        for tensor in tensors[1:]:
            self.ranges[id(self.range_of(tensor))] = first

    def is_rounded(self, tensor: keras.KerasTensor) -> bool:
        """Return whether a tensor has the values of a rounded one."""
        return id(tensor) in self._sources

    def is_float(self, tensor: keras.KerasTensor) -> bool:
        """Return whether a layer that stays in float made a tensor."""
        call = self.graph.maker(tensor)
        return call is not None and self.kinds[id(call)] == "float"

    def has_fixed_range(self, tensor: keras.KerasTensor) -> bool:
        """Return whether LiteRT would round a tensor in float in a prescribed range."""
        call = self.graph.maker(tensor)
        return self.is_float(tensor) and fixed_range(call) is not None

    def needs_barrier(self, call: Call, tensor: keras.KerasTensor) -> bool:
        """Return whether LiteRT may run a call in 8 bits that this placement leaves in float.

        It does that if inputs and output are rounded. A layer normalization ends in float.
        """
        if isinstance(call.layer, keras.layers.LayerNormalization):
            return False
        rounded = all(self.is_rounded(x) for x in call.inputs if is_real(x))
        return rounded and self.range_of(tensor) is not None

    def is_fixed(self, tensor: keras.KerasTensor) -> bool:
        """Return whether a tensor is rounded in a prescribed range."""
        source = self._sources.get(id(tensor))
        call = None if source is None else self.graph.maker(source)
        return call is not None and self.kinds[id(call)] == "fixed"


def place_ranges(graph: Graph, floats: Collection[str]) -> Placement:
    """Decide which tensors of a primitive graph are rounded.

    Args:
        graph: The graph.
        floats: Names of the layers to leave in float.
    """
    placement, calls = Placement(graph), sort_calls(graph)
    users = _users(graph, calls)
    front = {id(x) for x in tree.flatten(graph.inputs)}
    for call in calls:
        kind = "float" if call.path in floats else layer_kind(call)
        real = [x for x in call.inputs if is_real(x)]
        prepares = isinstance(call.layer, layer_kinds.PREPROCESSING) or kind == "pass"
        if prepares and all(id(x) in front for x in real):
            front.update(map(id, call.outputs))
            kind = "front"
        elif kind in ("same", "shared") and any(map(placement.is_fixed, real)):
            kind = "float"  # LiteRT needs one range for all, and the fixed one cannot change.
        elif kind == "fixed" and placement.is_float(real[0]):
            kind = "float"  # Such as the softmax between the two products of attention.
        elif kind == "fixed" and all(users[id(x)] == [None] for x in call.outputs):
            placement.round(real[0])  # LiteRT rounds what the model returns.
            placement.kinds[id(call)] = "fixed"
            continue
        placement.place(call, kind)
        if layer_kinds.is_relu(call) and kind == "own":
            _fuse(placement, call, users)
    return placement


def _fuse(placement: Placement, call: Call, users: dict[int, list[Call | None]]) -> None:
    """Do not round the input of a ReLU that LiteRT runs in the op before it."""
    (tensor,) = call.inputs
    maker = placement.graph.maker(tensor)
    if maker is None or users[id(tensor)] != [call]:
        return
    if isinstance(maker.layer, keras.layers.Identity):  # A folded normalization.
        _fuse(placement, maker, users)
    elif placement.kinds[id(maker)] in ("kernel", "own") and layer_kinds.fuses_relu(maker):
        del placement.ranges[id(tensor)]


def _users(graph: Graph, calls: list[Call]) -> dict[int, list[Call | None]]:
    """Return the calls that use each tensor, `None` for the model's outputs."""
    users: dict[int, list[Call | None]] = {id(x): [] for c in calls for x in c.outputs}
    users |= {id(x): [] for x in tree.flatten(graph.inputs)}
    for call in calls:
        for x in call.inputs:
            users[id(x)].append(call)
    for x in tree.flatten(graph.outputs):
        users[id(x)].append(None)
    return users
