"""Channels of all tensors of a graph: which are the same, and which weights belong to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_kd.models.graph import Call


@dataclass(frozen=True)
class Slot:
    """An axis of a weight whose positions belong to channels.

    Attributes:
        path: The layer.
        variable: The weight.
        axis: The axis.
        channels: The channel of each position.
        role: `"out"` if the weight makes the channels, `"in"` if it reads them, `"each"` if it
            changes each on its own.
    """

    path: str
    variable: keras.Variable
    axis: int
    channels: np.ndarray
    role: str


@dataclass(frozen=True)
class Resize:
    """An argument of a layer that depends on the number of channels.

    Attributes:
        layer: The layer.
        argument: The entry of its configuration.
        channels: The channels.
        make: Returns the value for a number of channels.
    """

    layer: keras.layers.Layer
    argument: str
    channels: np.ndarray
    make: Callable[[int], Any]


class ChannelTracer:
    """Collects what the rules of the layers find out about the channels of a graph.

    A channel is a number. Channels that can only be removed together are joined; those that cannot
    be removed at all are pinned, with the reason.

    Attributes:
        slots: The axes of weights that belong to channels.
        resizes: The arguments of layers that depend on numbers of channels.
        pins: The reason for each pinned channel.
        makers: By path, the channels that a layer makes, and what they are.
    """

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.resizes: list[Resize] = []
        self.pins: dict[int, str] = {}
        self.makers: dict[str, tuple[np.ndarray, str]] = {}
        self._parents: list[int] = []
        self._roots: np.ndarray | None = None  # Of all channels, until one is made or joined.
        self._of_tensors: dict[int, tuple[np.ndarray, int]] = {}
        self._seen: dict[int, tuple[np.ndarray, ...]] = {}

    def make(self, count: int, path: str = "", what: str = "channels") -> np.ndarray:
        """Return new channels, which a layer makes if a path is given."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        self._roots = None
        made = np.arange(first, first + count)
        if path:
            self.makers[path if what == "channels" else f"{path} ({what})"] = (made, what)
        return made

    def pin(self, channels: np.ndarray, reason: str) -> np.ndarray:
        """Keep channels from being removed; return them."""
        for channel in channels:
            self.pins.setdefault(int(channel), reason)
        return channels

    def join(self, *several: np.ndarray, reason: str = "has one channel for several") -> np.ndarray:
        """Join the channels of tensors at the same position; return those of the result.

        Tensors with one channel are broadcast, so that channel is pinned.
        """
        self._roots = None
        longest = max(several, key=len)
        for channels in several:
            if len(channels) not in (1, len(longest)):
                raise ValueError(f"{len(channels)} and {len(longest)} channels do not match.")
            if len(channels) == 1 < len(longest):
                self.pin(channels, reason)
            else:
                for one, other in zip(longest, channels, strict=True):
                    self._parents[self.root(int(other))] = self.root(int(one))
        return longest

    def root(self, channel: int) -> int:
        """Return the channel that stands for all that are joined with a channel."""
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel

    def roots(self, channels: np.ndarray) -> np.ndarray:
        """Return what `root` returns for each channel."""
        if self._roots is None:
            self._roots = np.array([self.root(i) for i in range(len(self._parents))], "int64")
        return self._roots[channels]

    def use(
        self, call: Call, variable: keras.Variable | None, axis: int, channels: Any, role: str
    ) -> None:
        """Note that an axis of a weight, if there is one, belongs to channels."""
        if variable is not None:
            axis %= len(variable.shape)
            self.slots.append(Slot(call.path, variable, axis, channels, role))

    def resize(
        self, call: Call, argument: str, channels: np.ndarray, make: Callable[[int], Any] = int
    ) -> None:
        """Note that an argument of a layer depends on the number of some channels."""
        self.resizes.append(Resize(call.layer, argument, channels, make))

    def first_call(self, call: Call, *inputs: np.ndarray) -> tuple[np.ndarray, ...] | None:
        """Return what `remember` got in the first call of a layer with weights, if there was one.

        The inputs of all calls are joined.
        """
        seen = self._seen.get(id(call.layer))
        if seen is None:
            return None
        for one, other in zip(inputs, seen, strict=False):
            self.join(one, other)
        return seen[len(inputs) :]

    def remember(self, call: Call, *channels: np.ndarray) -> None:
        """Note the channels of the inputs and the outputs of the first call of a layer."""
        self._seen[id(call.layer)] = channels

    def set(self, tensor: keras.KerasTensor, channels: np.ndarray, axis: int = -1) -> None:
        """Set the channels of a tensor, and their axis."""
        self._of_tensors[id(tensor)] = (channels, axis % max(len(tensor.shape), 1))

    def get(self, tensor: keras.KerasTensor, axis: int = -1) -> np.ndarray:
        """Return the channels of a tensor on an axis; none if it is unknown or the batch.

        If the channels are known to be on another axis, they are pinned, and so is the result.
        """
        axis %= max(len(tensor.shape), 1)
        if id(tensor) not in self._of_tensors:
            self.set(tensor, self._new(tensor, axis), axis)
        channels, found = self._of_tensors[id(tensor)]
        if found == axis:
            return channels
        self.pin(channels, "a layer reads another axis than that of the channels")
        return self.pin(self._new(tensor, axis), "its axis is not that of the channels")

    def layout(self, tensor: keras.KerasTensor) -> tuple[np.ndarray, int]:
        """Return the channels of a tensor and their axis, the last one if nothing is known."""
        if id(tensor) not in self._of_tensors:
            self.get(tensor)
        return self._of_tensors[id(tensor)]

    def pin_all(self, tensors: Sequence[keras.KerasTensor], reason: str) -> None:
        """Pin the channels of tensors."""
        for tensor in tensors:
            self.pin(self.layout(tensor)[0], reason)

    def _new(self, tensor: keras.KerasTensor, axis: int) -> np.ndarray:
        known = axis > 0 and tensor.shape[axis] is not None
        return self.make(tensor.shape[axis] if known else 0)
