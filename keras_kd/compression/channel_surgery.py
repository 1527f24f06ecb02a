"""Build the model that is left when channels are removed; it keeps the other weights."""

from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.compression.channel_groups import ChannelGroups
from keras_kd.compression.residual_blocks import ResidualBlock
from keras_kd.models.copy import copy_layer
from keras_kd.models.graph import is_graph
from keras_kd.models.keras_compat import run_graph


class Removal:
    """The removal of channels from a model.

    Args:
        found: The channels of the model.
        units: The units to remove.
    """

    def __init__(self, found: ChannelGroups, units: Collection[int]) -> None:
        self._tracer, self._units = found.tracer, np.array(sorted(units), "int64")
        self._kept: dict[int, dict[int, np.ndarray]] = {}
        for slot in found.tracer.slots:
            of_variable = self._kept.setdefault(id(slot.variable), {})
            of_variable[slot.axis] = self.remaining(slot.channels)

    def remaining(self, channels: np.ndarray) -> np.ndarray:
        """Return the positions of channels that remain."""
        return np.flatnonzero(~np.isin(self._tracer.roots(channels), self._units))

    def shape(self, variable: keras.Variable) -> tuple[int, ...]:
        """Return the shape of a weight after the removal."""
        kept = self._kept.get(id(variable), {})
        return tuple(
            len(kept[axis]) if axis in kept else size for axis, size in enumerate(variable.shape)
        )

    def reduce(self, variable: keras.Variable) -> np.ndarray:
        """Return what remains of a weight."""
        value = keras.ops.convert_to_numpy(variable)
        for axis, kept in self._kept.get(id(variable), {}).items():
            value = np.take(value, kept, axis)
        return value

    def apply(self, model: keras.Model) -> keras.Model:
        """Return the model without the channels; the given one is not changed."""
        changes: dict[int, dict[str, Any]] = {}
        for resize in self._tracer.resizes:
            count = len(self.remaining(resize.channels))
            changes.setdefault(id(resize.layer), {})[resize.argument] = resize.make(count)
        builder = _Builder(changes, {})
        smaller = builder.build(model, None)
        for old, new in builder.pairs:
            new.set_weights([self.reduce(variable) for variable in old.weights])
        return smaller


def remove_blocks(model: keras.Model, blocks: Sequence[ResidualBlock]) -> keras.Model:
    """Return a model without some of its residual blocks; the given one is not changed."""
    builder = _Builder({}, {id(block.operation): block.skip for block in blocks})
    smaller = builder.build(model, None)
    for old, new in builder.pairs:
        new.set_weights(old.get_weights())
    return smaller


class _Builder:
    """Builds a model again, with other arguments for some of its layers.

    Args:
        changes: By the id of a layer, the changed entries of its configuration.
        skips: By the id of an addition that is removed, which of its inputs takes its place.
    """

    def __init__(self, changes: dict[int, dict[str, Any]], skips: dict[int, int]) -> None:
        self._changes, self._skips = changes, skips
        self._made: dict[int, keras.layers.Layer] = {}
        self.pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []

    def build(self, model: keras.Model, inputs: Any) -> keras.Model:
        """Return a model built again for the shapes of symbolic inputs, `None` for its own."""
        if isinstance(model, keras.Sequential):
            x = _new_input(model.inputs[0] if inputs is None else inputs)
            first, layers = x, []
            for layer in model.layers:
                x = self._call(layer, x)
                layers.append(self._made[id(layer)])
            start = keras.Input(batch_shape=first.shape, dtype=first.dtype)
            return keras.Sequential([start, *layers], name=model.name)
        own = tree.map_structure(_new_input, model.input if inputs is None else inputs)
        outputs = run_graph(model, own, self._call)
        return keras.Model(own, outputs, name=model.name)

    def _call(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        if id(operation) in self._skips:
            return tree.flatten(args)[self._skips[id(operation)]]
        if not isinstance(operation, keras.layers.Layer):
            return operation(*args, **kwargs)
        if id(operation) not in self._made:
            self._made[id(operation)] = self._make(operation, args)
        return self._made[id(operation)](*args, **kwargs)

    def _make(self, layer: keras.layers.Layer, args: tuple) -> keras.layers.Layer:
        if is_graph(layer):
            return self.build(layer, args[0])
        new = copy_layer(layer, **self._changes.get(id(layer), {}))
        self.pairs.append((layer, new))
        return new


def _new_input(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
