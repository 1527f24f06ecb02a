"""Groups of channels of a model that can be removed, and what must be kept whole."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
from keras import tree

from keras_kd.compression.channel_rules import find_rule
from keras_kd.compression.channel_tracer import ChannelTracer
from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.files import text_table
from keras_kd.models.graph import Call, Graph, is_graph, open_graph, require_built


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that may be removed one by one; one of them is removed from all layers at once.

    Attributes:
        name: The layer that makes them, the first if there are several; with a number if it makes
            several groups.
        makers: The layers that make them.
        readers: The layers that read them.
        units: The number of each channel in the tracer.
    """

    name: str
    makers: tuple[str, ...]
    readers: tuple[str, ...]
    units: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.units)


@dataclass(frozen=True)
class ChannelGroups(HtmlTables):
    """The channels of a model; prints as a table.

    Attributes:
        groups: The groups whose channels can be removed.
        whole: By layer whose channels cannot be removed, the reason.
        graph: The opened graph of the model.
        tracer: What is known of its channels.
    """

    groups: tuple[ChannelGroup, ...]
    whole: Mapping[str, str]
    graph: Graph
    tracer: ChannelTracer

    def __repr__(self) -> str:
        return f"ChannelGroups({len(self.groups)} groups, {len(self.whole)} layers kept whole)"

    def __str__(self) -> str:
        return text_table(*self._table())

    def html_tables(self) -> Mapping[str, Table]:
        """Return the table of the groups."""
        return {"Channels": self._table()}

    def _table(self) -> Table:
        rows = [
            (group.name, str(len(group)), ", ".join(group.makers), ", ".join(group.readers))
            for group in self.groups
        ]
        rows += [(name, "whole", "", reason) for name, reason in self.whole.items()]
        return Table(("group", "channels", "made by", "read by, or why kept whole"), rows)


def channel_groups(model: keras.Model) -> ChannelGroups:
    """Find the channels, units and attention heads of a model that can be removed.

    Channels that an addition or another operation combines are coupled: they are removed together
    from all layers that make or read them. Layers of an unknown kind, and channels that a layer
    normalization, an output or the input of the model needs, are kept whole.

    Args:
        model: A built Functional or Sequential `keras.Model`.

    Returns:
        The `ChannelGroups`; print it.

    Raises:
        ValueError: If the model is subclassed: it has no graph.

    Example:
        >>> print(kd.compression.channel_groups(model))
    """
    require_built(model, "The model")
    if not is_graph(model):
        raise ValueError(
            "Channels are found in the graph of a model, so it must be Functional or Sequential. "
            f"Received: '{model.name}' ({type(model).__name__}), which is subclassed. Build it "
            "with the functional API: keras.Model(inputs, outputs)."
        )
    graph = open_graph(model)
    tracer = trace_channels(graph)
    return ChannelGroups(_find_groups(tracer), _list_whole(tracer), graph, tracer)


def trace_channels(graph: Graph) -> ChannelTracer:
    """Follow the channels through all calls of a graph, in the order in which they run."""
    tracer = ChannelTracer()
    tracer.pin_all(tree.flatten(graph.inputs), "an input of the model")
    for call in _in_order(graph):
        rule = find_rule(call.layer)
        if rule is None or not rule(tracer, call):
            reason = f"'{call.path}' ({type(call.layer).__name__}) has no rule for it"
            tracer.pin_all([*call.inputs, *call.outputs], reason)
            _pin_weights(tracer, call)
    tracer.pin_all(tree.flatten(graph.outputs), "an output of the model")
    return tracer


def _in_order(graph: Graph) -> list[Call]:
    """Return the innermost calls of a graph, each after those that make its inputs."""
    inner = [c for calls in graph.calls.values() for c in calls if not is_graph(c.layer)]
    made_by = {id(output): call for call in inner for output in call.outputs}
    ordered, done = [], set()

    def visit(call: Call) -> None:
        stack = [(call, False)]
        while stack:
            one, ready = stack.pop()
            if ready:
                ordered.append(one)
            elif id(one) not in done:
                done.add(id(one))
                stack.append((one, True))
                stack += [(made_by[id(x)], False) for x in one.inputs if id(x) in made_by]

    for call in inner:
        visit(call)
    return ordered


def _pin_weights(tracer: ChannelTracer, call: Call) -> None:
    """List a layer of an unknown kind with weights among those kept whole."""
    if isinstance(call.layer, keras.layers.Layer) and call.layer.weights:
        channels = [tracer.layout(x)[0] for x in call.outputs]
        tracer.makers[call.path] = (np.concatenate([*channels, tracer.make(0)]), "channels")


def _find_groups(tracer: ChannelTracer) -> tuple[ChannelGroup, ...]:
    """Return the channels that can be removed, grouped by the layers that use them."""
    pinned = {tracer.root(channel) for channel in tracer.pins}
    users: dict[int, dict[str, dict[str, None]]] = {}
    for slot in tracer.slots:
        for unit in dict.fromkeys(tracer.roots(slot.channels).tolist()):
            if unit not in pinned:
                roles = users.setdefault(unit, {"out": {}, "in": {}, "each": {}})
                roles[slot.role][slot.path] = None
    groups: dict[tuple, list[int]] = {}
    for unit, roles in users.items():
        key = tuple(tuple(roles[role]) for role in ("out", "in", "each"))
        if key[0]:
            groups.setdefault(key, []).append(unit)
    names, found, counts = _names(tracer), [], Counter()
    for (makers, readers, _), units in groups.items():
        name = names.get(units[0], makers[0])
        counts[name] += 1
        unique = name if counts[name] == 1 else f"{name} {counts[name]}"
        found.append(ChannelGroup(unique, makers, readers, tuple(units)))
    return tuple(found)


def _names(tracer: ChannelTracer) -> dict[int, str]:
    """Return the names of the units that are more than a channel, such as heads."""
    return {
        unit: name
        for name, (channels, what) in tracer.makers.items()
        if what != "channels"
        for unit in tracer.roots(channels).tolist()
    }


def _list_whole(tracer: ChannelTracer) -> dict[str, str]:
    """Return the reasons of the layers that make only pinned channels."""
    reasons = {tracer.root(channel): reason for channel, reason in tracer.pins.items()}
    whole = {}
    for path, (channels, _) in tracer.makers.items():
        found = [reasons.get(root) for root in tracer.roots(channels)]
        if found and all(found):
            whole[path] = found[0]
    return whole
