"""List the taps of a model, and pair those of a teacher and a student."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import keras

from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.files import ShortRepr, text_table
from keras_kd.models.graph import Graph, is_graph, open_graph, require_built
from keras_kd.models.keras_compat import nested_layers
from keras_kd.models.layouts import Layouts, shape_with_channels_last
from keras_kd.models.learned_places import LearnedPlaces
from keras_kd.models.tap_places import Place, has_known_order, list_places

#: Lines in the `repr` of a list of taps.
_SHOWN_LINES = 14


@dataclass(frozen=True, repr=False)
class TapInfo(ShortRepr):
    """Description of a tap.

    Attributes:
        name: The name of the tap.
        layer: The class of the layer.
        shape: Shape of the layer's output, batch first.
        depth: Length of the longest path from an input, in layers.
        relative_depth: The depth divided by the depth of the model, from 0 to 1.
        channel_axis: The axis of the channels: the last one, or 1 for maps of layers with
            `data_format="channels_first"`; `None` if it is not known. Losses get the channels last.
    """

    name: str
    layer: str
    shape: tuple[int | None, ...]
    depth: int
    relative_depth: float
    channel_axis: int | None

    @property
    def positions(self) -> float:
        """Number of positions of a map or sequence; 1 for a vector, NaN if it is not known."""
        if self.channel_axis is None:
            return math.nan
        sizes = shape_with_channels_last(self.shape, self.channel_axis)[1:-1]
        return math.nan if None in sizes else float(math.prod(sizes))


class TapList(HtmlTables, tuple[TapInfo, ...]):
    """The taps of a model in order of depth; prints as a table."""

    def __repr__(self) -> str:
        lines = str(self).splitlines()
        more = len(lines) - _SHOWN_LINES
        shown = [*lines[:_SHOWN_LINES], f"... and {more} more; print them to see all"]
        return "\n".join(lines if more <= 0 else shown)

    def __str__(self) -> str:
        return text_table(*self._table())

    def html_tables(self) -> Mapping[str, Table]:
        """Return the table of the taps."""
        return {"Taps": self._table()}

    def _table(self) -> Table:
        rows = [
            (x.name, x.layer, str(x.shape), f"{x.depth} ({x.relative_depth:.0%})") for x in self
        ]
        return Table(("tap", "layer", "shape", "depth"), rows)


def taps(model: keras.Model) -> TapList:
    """List the taps of a model with their shapes and depths.

    Layers inside nested Functional and Sequential models are listed as `outer/inner`. Of a layer
    that is called several times, `layer@0` is the first call in the order in which the model runs
    them: by depth, and at the same depth in the order in which a later layer takes them. Of one
    that returns several tensors, `layer:0` is the first tensor. The calls of a layer cannot be told
    apart, and are not listed, where a subclassed model or a custom layer makes them.

    Args:
        model: A built `keras.Model` whose graph can be read.

    Returns:
        A tuple of `TapInfo` in order of depth; `print` shows a table.

    Raises:
        TypeError: If `model` is not a `keras.Model`.
        ValueError: If it is not built, or its `call` does not run on symbolic tensors.

    Example:
        >>> print(kd.taps(teacher))
        >>> [tap.name for tap in kd.taps(teacher)]
    """
    require_built(model, "The model")
    return TapList(tap for tap, _ in _list_taps(open_graph(model)))


def pair_taps(teacher: keras.Model, student: keras.Model, n: int = 3) -> list[tuple[str, str]]:
    """Pair hidden layers by resolution, or by relative depth if the resolution never changes.

    A stage is a sequence of layers with the same resolution. The student's taps are the ends of
    its stages, evenly spaced and including the last one; in a model with a single stage (a
    transformer, a perceptron) they are evenly spaced over its depth. Each is paired with the
    teacher's tap of the same rank and nearest resolution at the most similar position in its
    stage. Places before the first layer with learned weights (preprocessing, augmentation, lookups)
    are not paired, nor are outputs, or the logits that become an output without further weights.

    Args:
        teacher: A built `keras.Model`.
        student: A built `keras.Model`.
        n: Maximum number of pairs. Defaults to 3.

    Returns:
        At most `n` pairs (teacher tap, student tap) in order of depth.

    Raises:
        TypeError: If one of them is not a `keras.Model`.
        ValueError: If `n` is below 1, or no two taps have the same rank.

    Example:
        >>> pairs = kd.pair_taps(teacher, student, n=2)
        >>> hint = kd.losses.Hint(taps=pairs)
    """
    if n < 1:
        raise ValueError(f"pair_taps: `n` must be at least 1. Received: n={n!r}")
    candidates = _hidden_taps(teacher)
    pairs = {}
    for tap, progress in _evenly_spaced(_hidden_taps(student), n):
        same_rank = [c for c in candidates if len(c[0].shape) == len(tap.shape)]
        if same_rank:
            best = min(same_rank, key=lambda c: _mismatch(c, tap, progress))
            # A teacher tap is used once, for the deeper layer.
            pairs[best[0].name] = tap.name
    if not pairs:
        raise ValueError(
            f"pair_taps: no hidden tap of '{teacher.name}' has the rank of a hidden tap of "
            f"'{student.name}'. List the taps with kd.taps(model) and pass pairs of your own."
        )
    return list(pairs.items())


def _list_taps(graph: Graph) -> list[tuple[TapInfo, Place]]:
    """Return the taps of a graph in order of depth, each with its place."""
    depths, layouts = _depths(graph), Layouts(graph)
    deepest = max(depths.values(), default=1)
    found = []
    for place in _tappable(graph):
        depth, kind = depths[id(place.tensor)], type(place.call.layer).__name__
        position = depth, depth / max(deepest, 1), layouts.channel_axis(place.tensor)
        info = TapInfo(place.name, kind, tuple(place.tensor.shape), *position)
        found.append((info, place))
    return sorted(found, key=lambda one: one[0].depth)


def _depths(graph: Graph) -> dict[int, int]:
    """Return the length of the longest path to each tensor, by the tensor's id."""
    depths = {}
    for calls in graph.calls.values():
        for call in calls:
            for tensor in call.outputs:
                _depth(graph, tensor, depths)
    return depths


def _depth(graph: Graph, tensor: keras.KerasTensor, depths: dict[int, int]) -> int:
    if id(tensor) not in depths:
        call = graph.maker(tensor)
        inputs = call.inputs if call else []
        depths[id(tensor)] = max((_depth(graph, x, depths) + 1 for x in inputs), default=0)
    return depths[id(tensor)]


def _tappable(graph: Graph) -> list[Place]:
    """Return the places that can be tapped: tensors of layers that have an axis of channels."""
    parts = _parts_of_layers(graph)
    return [
        place
        for path in graph.calls
        for place in list_places(graph, path)
        if isinstance(place.call.layer, keras.layers.Layer)
        and not isinstance(place.call.layer, keras.layers.InputLayer)
        and id(place.call.layer) not in parts
        and len(place.tensor.shape) >= 2
        and has_known_order(graph, place.call)
    ]


def _parts_of_layers(graph: Graph) -> set[int]:
    """Return the ids of the layers that another layer holds, which may call them too.

    Such as the embedding of tokens, which the head of a language model calls again.
    """
    layers = [calls[0].layer for calls in graph.calls.values()]
    return {
        id(part)
        for layer in layers
        if isinstance(layer, keras.layers.Layer) and not is_graph(layer)
        for part in nested_layers(layer, include_self=False)
    }


def _hidden_taps(model: keras.Model) -> list[tuple[TapInfo, float]]:
    """Return the hidden taps worth pairing, each with its position in its stage, from 0 to 1."""
    require_built(model, "The model")
    graph = open_graph(model)
    learned = LearnedPlaces(graph)
    stages = {}
    for tap, place in _list_taps(graph):
        if place in learned and tap.channel_axis is not None:
            stages.setdefault((len(tap.shape), tap.positions), []).append(tap)
    found = []
    for stage in stages.values():
        start, end = stage[0].depth - 1, stage[-1].depth
        found += [(tap, (tap.depth - start) / (end - start)) for tap in stage]
    return found


def _evenly_spaced(hidden: list[tuple[TapInfo, float]], n: int) -> list[tuple[TapInfo, float]]:
    """Choose at most n evenly spaced taps: ends of stages if there are several stages."""
    ends = [item for item in hidden if item[1] == 1.0]
    chosen = ends if len(ends) > 1 else hidden
    chosen = sorted(chosen, key=lambda item: item[0].depth)
    n = min(n, len(chosen))
    return [chosen[round((i + 1) * len(chosen) / n) - 1] for i in range(n)]


def _mismatch(
    candidate: tuple[TapInfo, float], tap: TapInfo, progress: float
) -> tuple[float, float, float]:
    """Return the differences in resolution, position in the stage and depth."""
    ratio = candidate[0].positions / tap.positions
    resolution = abs(math.log2(ratio)) if ratio > 0 else math.inf
    depth = abs(candidate[0].relative_depth - tap.relative_depth)
    return (resolution, abs(candidate[1] - progress), depth)
