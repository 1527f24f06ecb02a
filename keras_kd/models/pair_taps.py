"""Which places a model has to tap, and which of them to pair between teacher and student."""

import math
from dataclasses import dataclass

import keras

from keras_kd.models.graph import Call, Graph, open_graph, require_built

# They move values about, drop some or prepare the input: no place of its own.
_PASSING = (
    keras.layers.InputLayer,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Identity,
    keras.layers.Rescaling,
    keras.layers.Normalization,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
)


@dataclass(frozen=True)
class Place:
    """A place that can be tapped.

    Attributes:
        name: What to pass as a tap.
        layer: The class of the layer.
        shape: Shape of what it gives, batch first.
        depth: The longest way to it from an input, in layers.
        relative_depth: That depth over the model's, 0 to 1.
    """

    name: str
    layer: str
    shape: tuple[int | None, ...]
    depth: int
    relative_depth: float

    @property
    def positions(self) -> float:
        """How many places the map or sequence has; 1 for a vector, NaN where it is not known."""
        sizes = self.shape[1:-1]
        return math.nan if None in sizes else float(math.prod(sizes))


class Places(tuple):
    """The places of a model in order of depth; printed, a table."""

    def __str__(self) -> str:
        rows = [("tap", "layer", "shape", "depth")]
        rows += [
            (x.name, x.layer, str(x.shape), f"{x.depth} ({x.relative_depth:.0%})") for x in self
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def taps(model: keras.Model) -> Places:
    """Lists the places of a model that can be tapped: names, shapes, depths.

    Layers inside nested Functional and Sequential models are listed as `outer/inner`. A layer that
    is called several times, or gives several tensors, is no single place and is left out.

    Args:
        model: A built `keras.Model` whose graph can be read.

    Returns:
        A tuple of `Place`, in order of depth; `print` shows a table.

    Raises:
        TypeError: When `model` is not a `keras.Model`.
        ValueError: When it is not built, or its `call` does not run on symbolic tensors.

    Example:
        >>> print(kd.taps(teacher))
        >>> [place.name for place in kd.taps(teacher)]
    """
    require_built(model, "The model")
    graph = open_graph(model)
    depths = _depths(graph)
    deepest = max(depths.values(), default=1)
    places = []
    for path, calls in graph.calls.items():
        if len(calls) == 1 and _is_place(calls[0]):
            depth = depths[id(calls[0].outputs[0])]
            shape = tuple(calls[0].outputs[0].shape)
            kind = type(calls[0].layer).__name__
            places.append(Place(path, kind, shape, depth, depth / max(deepest, 1)))
    return Places(sorted(places, key=lambda place: place.depth))


def pair_taps(teacher: keras.Model, student: keras.Model, n: int = 3) -> list[tuple[str, str]]:
    """Proposes which hidden layers to pair: the same resolution, else the same relative depth.

    The student's taps are the last ones before the resolution changes (the ends of its stages),
    spread evenly and the last among them; in a model of a single stage (a transformer, a
    perceptron) they are spread over its depth. Each is paired with the teacher's tap of the same
    rank and nearest resolution that lies as far through its stage. Outputs are not paired.

    Args:
        teacher: A built `keras.Model`.
        student: A built `keras.Model`.
        n: How many pairs at most. Defaults to 3.

    Returns:
        At most `n` pairs (teacher tap, student tap), in order of depth.

    Raises:
        TypeError: When one is not a `keras.Model`.
        ValueError: When `n` is below 1, or no two taps fit.

    Example:
        >>> pairs = kd.pair_taps(teacher, student, n=2)
        >>> hint = kd.losses.Hint(taps=pairs)
    """
    if n < 1:
        raise ValueError(f"pair_taps: `n` must be at least 1. Received: n={n!r}")
    candidates, others = _staged(teacher), _staged(student)
    pairs = {}
    for place, progress in _spread(others, n):
        fitting = [c for c in candidates if len(c[0].shape) == len(place.shape)]
        if fitting:
            best = min(fitting, key=lambda c: _mismatch(c, place, progress))
            # One teacher tap leads one layer: the deeper one.
            pairs[best[0].name] = place.name
    if not pairs:
        raise ValueError(
            f"pair_taps: no hidden tap of '{teacher.name}' has the rank of one of "
            f"'{student.name}'. kd.taps(model) lists them; name the pairs yourself."
        )
    return list(pairs.items())


def _depths(graph: Graph) -> dict[int, int]:
    """The longest way to each tensor, by its id."""
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


def _is_place(call: Call) -> bool:
    return (
        isinstance(call.layer, keras.layers.Layer)
        and not isinstance(call.layer, keras.layers.InputLayer)
        and len(call.outputs) == 1
        and len(call.outputs[0].shape) >= 2
    )


def _staged(model: keras.Model) -> list[tuple[Place, float]]:
    """The hidden places worth pairing, each with how far through its stage it lies, 0 to 1."""
    last = max((place.depth for place in taps(model)), default=0)
    hidden = [
        place
        for place in taps(model)
        if place.depth < last and place.layer not in {kind.__name__ for kind in _PASSING}
    ]
    stages = {}
    for place in hidden:
        stages.setdefault((len(place.shape), place.positions), []).append(place)
    found = []
    for stage in stages.values():
        start, end = stage[0].depth - 1, stage[-1].depth
        found += [(place, (place.depth - start) / (end - start)) for place in stage]
    return found


def _spread(places: list[tuple[Place, float]], n: int) -> list[tuple[Place, float]]:
    """At most n of the places, evenly spread: ends of stages where there are several."""
    ends = [place for place in places if place[1] == 1.0]
    chosen = ends if len(ends) > 1 else places
    chosen = sorted(chosen, key=lambda place: place[0].depth)
    n = min(n, len(chosen))
    picks = [round((i + 1) * len(chosen) / n) - 1 for i in range(n)]
    return [chosen[i] for i in picks]


def _mismatch(
    candidate: tuple[Place, float], place: Place, progress: float
) -> tuple[float, float, float]:
    ratio = candidate[0].positions / place.positions
    resolution = abs(math.log2(ratio)) if ratio > 0 else math.inf
    depth = abs(candidate[0].relative_depth - place.relative_depth)
    return (resolution, abs(candidate[1] - progress), depth)
