"""Residual blocks of a model that can be removed: then their input is their output."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_kd.models.graph import Call, Graph, is_graph


@dataclass(frozen=True)
class ResidualBlock:
    """A branch whose result is added to its input.

    Attributes:
        name: The addition.
        operation: The layer or operation that adds.
        skip: The position of the input among what is added.
        layers: The layers of the branch.
        stage: What the block has in common with others like it: its shape, and the classes of its
            layers.
    """

    name: str
    operation: Any
    skip: int
    layers: tuple[str, ...]
    stage: tuple


def find_blocks(graph: Graph) -> list[ResidualBlock]:
    """Return the residual blocks of a graph, in the order in which they run."""
    calls = [c for found in graph.calls.values() for c in found if not is_graph(c.layer)]
    readers: dict[int, list[Call]] = {}
    for call in calls:
        for tensor in call.inputs:
            readers.setdefault(id(tensor), []).append(call)
    outputs = {id(tensor) for tensor in keras.tree.flatten(graph.outputs)}
    found = [_block(graph, call, readers, outputs) for call in calls if _is_addition(graph, call)]
    return [block for block in found if block is not None]


def select_blocks(blocks: Sequence[ResidualBlock], share: float) -> list[ResidualBlock]:
    """Return the blocks to remove; of each stage a share remains, evenly spaced, the first too."""
    stages: dict[tuple, list[ResidualBlock]] = {}
    for block in blocks:
        stages.setdefault(block.stage, []).append(block)
    removed = []
    for stage in stages.values():
        count = math.ceil(round(share * len(stage), 9))
        kept = {i * len(stage) // count for i in range(count)}
        removed += [block for i, block in enumerate(stage) if i not in kept]
    return removed


def _is_addition(graph: Graph, call: Call) -> bool:
    kind = type(call.layer)
    added = kind is keras.layers.Add or (
        kind.__name__ == "Add" and kind.__module__.startswith("keras.src.ops.")
    )
    once = len(graph.runs[id(call.layer)]) == 1
    return added and once and len(call.inputs) == 2 and call.inputs[0].shape == call.inputs[1].shape


def _block(
    graph: Graph, call: Call, readers: dict[int, list[Call]], outputs: set[int]
) -> ResidualBlock | None:
    """Return the block that ends in an addition, `None` if there is none."""
    for skip in (0, 1):
        branch = _branch(graph, call.inputs[1 - skip], call.inputs[skip])
        if not branch:
            continue
        ids = {id(one) for one in branch} | {id(call)}
        inner = [id(tensor) for one in branch for tensor in one.outputs]
        alone = all(id(reader) in ids for tensor in inner for reader in readers.get(tensor, []))
        shared = any(len(graph.runs[id(one.layer)]) > 1 for one in branch)
        if alone and not shared and not outputs & set(inner):
            layers = [one.layer for one in branch if isinstance(one.layer, keras.layers.Layer)]
            kinds = tuple(type(one.layer).__name__ for one in branch)
            stage = (tuple(call.outputs[0].shape), kinds)
            if any(layer.weights for layer in layers):
                names = tuple(one.path for one in branch)
                return ResidualBlock(call.path, call.layer, skip, names, stage)
    return None


def _branch(graph: Graph, end: keras.KerasTensor, start: keras.KerasTensor) -> list[Call] | None:
    """Return the calls that make one tensor from another, `None` if there are other inputs."""
    waiting, found = [end], {}
    while waiting:
        tensor = waiting.pop()
        if tensor is start:
            continue
        call = graph.maker(tensor)
        if call is None:
            return None
        if id(call) not in found:
            found[id(call)] = call
            waiting += call.inputs
    return list(found.values())[::-1]
