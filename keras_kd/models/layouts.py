"""The axis of the channels (or classes) of each tensor, read from the layers around it.

The graph is read backwards to the nearest layer with a `data_format`, through the layers that keep
or move the channels. Where it is not known, the last axis holds them, as everywhere in Keras.
"""

import math
from typing import Any

import keras
from keras import ops

from keras_kd.models.graph import Call, Graph
from keras_kd.models.keras_compat import get_mask, nested_layers, set_mask

# Nothing before the tensor tells; the layers after it may.
_FREE = -1
# Layers whose output has its channels on the last axis, whatever their input.
_ON_LAST_AXIS = (
    keras.layers.Embedding,
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.GRU,
    keras.layers.LSTM,
    keras.layers.SimpleRNN,
)
_RECURRENT_CONVOLUTIONS = (
    keras.layers.ConvLSTM1D,
    keras.layers.ConvLSTM2D,
    keras.layers.ConvLSTM3D,
)
_NORMALIZATIONS = (keras.layers.BatchNormalization, keras.layers.GroupNormalization)
_MOVING_OPS = ("Transpose", "Moveaxis", "Swapaxes", "ExpandDims", "Squeeze", "GetItem")
# Stands for the number of channels where axes are traced: no other axis has this size.
_MARK = 1_000_003


class Layouts:
    """The axes of the channels in a graph.

    Args:
        graph: The graph of a model.
    """

    def __init__(self, graph: Graph) -> None:
        calls = [call for calls in graph.calls.values() for call in calls]
        self._graph = graph
        self._uses: dict[int, list[Call]] = {}
        for call in calls:
            for tensor in call.inputs:
                self._uses.setdefault(id(tensor), []).append(call)
        self._formats = {id(call.layer): data_formats(call.layer) for call in calls}
        self._channels_first = any("channels_first" in one for one in self._formats.values())
        self._found: dict[int, int | None] = {}
        for call in calls:  # In this order, the recursion stays shallow.
            for tensor in call.outputs:
                self._axis(tensor)

    def channel_axis(self, tensor: keras.KerasTensor) -> int | None:
        """Return the axis of the channels of a tensor, or `None` if it is not known.

        It is unknown only in a model with layers that are `channels_first`, behind a layer that may
        have moved the channels.
        """
        axis = self._axis(tensor)
        if axis == _FREE or (axis is None and not self._channels_first):
            return len(tensor.shape) - 1
        return axis

    def _axis(self, tensor: keras.KerasTensor) -> int | None:
        if len(tensor.shape) < 3:
            return len(tensor.shape) - 1
        if id(tensor) not in self._found:
            call = self._graph.maker(tensor)
            axis = _FREE if call is None else self._axis_after(call, tensor)
            if axis in (None, _FREE):
                used = self._axis_by_uses(tensor)
                axis = axis if used == _FREE else used
            self._found[id(tensor)] = axis
        return self._found[id(tensor)]

    def _axis_after(self, call: Call, tensor: keras.KerasTensor) -> int | None:
        """Return the axis as the call that made the tensor, and those before it, tell."""
        layer, rank = call.layer, len(tensor.shape)
        if isinstance(layer, _ON_LAST_AXIS):
            return rank - 1
        if not call.inputs:
            return _FREE
        source = call.inputs[0]
        if len(source.shape) == rank or isinstance(layer, _RECURRENT_CONVOLUTIONS):
            axis = self._axis_of_format(layer, rank)
            if axis is not None:
                return axis
        # The units of a vector may become channels, or steps of one channel each.
        axis = self._axis(source) if len(source.shape) > 2 else _FREE
        if type(layer).__name__ == "Reshape":
            return _axis_after_reshape(source, tensor, axis)
        if _moves_axes(layer):
            return _axis_after_move(call, source, axis)
        return self._axis_of_inputs(call, tensor)

    def _axis_of_inputs(self, call: Call, tensor: keras.KerasTensor) -> int | None:
        """Return the axis after an elementwise layer, a sum, or a layer of unknown kind."""
        rank, own = len(tensor.shape), _own_axis(call.layer, len(tensor.shape))
        sources = [x for x in call.inputs if len(x.shape) == rank]
        # Those that are broadcast, such as weights of attention, have a shape of their own.
        sources = [x for x in sources if tuple(x.shape) == tuple(tensor.shape)] or sources
        axes = {self._axis(x) for x in sources} - {_FREE}
        if len(axes - {None}) == 1:
            axis = max(axes - {None})
            joins = type(call.layer).__name__ == "Concatenate"
            kept = joins or any(x.shape[axis] == tensor.shape[axis] for x in sources)
            return axis if axis == rank - 1 or kept else own
        if own is not None or axes:
            return own
        moved = any(self._axis(x) not in (_FREE, len(x.shape) - 1) for x in call.inputs)
        return None if moved else _FREE

    def _axis_by_uses(self, tensor: keras.KerasTensor) -> int:
        """Return the axis as the layers that use the tensor tell."""
        pending, seen = [tensor] if any(self._formats.values()) else [], {id(tensor)}
        while pending:
            for call in self._uses.get(id(pending.pop()), ()):
                axis = self._axis_of_format(call.layer, len(tensor.shape))
                if axis is not None:
                    return axis
                same = [x for x in call.outputs if tuple(x.shape) == tuple(tensor.shape)]
                pending += [x for x in same if id(x) not in seen]
                seen |= {id(x) for x in same}
        return _FREE

    def _axis_of_format(self, layer: Any, rank: int) -> int | None:
        """Return the axis that the `data_format` of a layer tells, or `None`."""
        formats, sequence = (
            self._formats[id(layer)],
            isinstance(layer, keras.layers.TimeDistributed),
        )
        if isinstance(layer, _RECURRENT_CONVOLUTIONS):
            sequence = layer.return_sequences
        if len(formats) != 1 or rank < 3 + sequence:
            return None
        return 1 + sequence if formats == {"channels_first"} else rank - 1


def to_channels_last(x: Any, axis: int) -> Any:
    """Move the channels of a tensor from an axis to the last one, and keep the mask."""
    if axis == len(x.shape) - 1:
        return x
    mask, moved = get_mask(x), ops.moveaxis(x, axis, -1)
    return moved if mask is None else set_mask(moved, mask)


def from_channels_last(x: Any, axis: int) -> Any:
    """Move the channels of a tensor from the last axis to another one."""
    return x if axis == len(x.shape) - 1 else ops.moveaxis(x, -1, axis)


def shape_with_channels_last(shape: tuple, axis: int) -> tuple:
    """Return the shape of the result of `to_channels_last`."""
    return shape if axis == len(shape) - 1 else (*shape[:axis], *shape[axis + 1 :], shape[axis])


def shape_from_channels_last(shape: tuple, axis: int) -> tuple:
    """Return the shape of the result of `from_channels_last`."""
    return shape if axis == len(shape) - 1 else (*shape[:axis], shape[-1], *shape[axis:-1])


def data_formats(layer: Any) -> set[str]:
    """Return the `data_format` of a layer or operation, or those of the layers within it."""
    found = _data_format(layer)
    if not found and isinstance(layer, keras.layers.Layer):
        found = set().union(*map(_data_format, nested_layers(layer, include_self=False)))
    return {keras.config.image_data_format() if one is None else one for one in found}


def _data_format(layer: Any) -> set[str | None]:
    # A flattened map is a vector in any case, so few give this layer the format.
    ignored = isinstance(layer, keras.layers.Flatten)
    return set() if ignored else {getattr(layer, "data_format", "")} - {""}


def _own_axis(layer: Any, rank: int) -> int | None:
    """Return the axis that a normalization over channels, or a softmax over classes, works on."""
    softmax = type(layer).__name__ in ("Softmax", "LogSoftmax")
    axis = layer.axis if softmax or isinstance(layer, _NORMALIZATIONS) else None
    return axis % rank if isinstance(axis, int) else None


def _moves_axes(layer: Any) -> bool:
    named = not isinstance(layer, keras.layers.Layer) and type(layer).__name__ in _MOVING_OPS
    return named or isinstance(layer, keras.layers.Permute)


def _axis_after_reshape(
    source: keras.KerasTensor, tensor: keras.KerasTensor, axis: int | None
) -> int | None:
    """Return the axis with as many channels and as many values before it."""
    if axis in (None, _FREE):
        return axis
    before, shape = _count(source.shape[1:axis]), tensor.shape
    same = [
        other
        for other in range(1, len(shape))
        if shape[other] == source.shape[axis] and _count(shape[1:other]) == before
    ]
    if same:
        return same[-1]
    return _FREE if axis == len(source.shape) - 1 else None


def _count(sizes: tuple) -> int | None:
    return None if None in sizes else math.prod(sizes)


def _axis_after_move(call: Call, source: keras.KerasTensor, axis: int | None) -> int | None:
    """Return the axis to which an operation moves the channels."""
    if axis in (None, _FREE):
        return axis
    shape = (*source.shape[:axis], _MARK, *source.shape[axis + 1 :])
    marked = keras.KerasTensor(shape, dtype=source.dtype)
    moved = call.layer.compute_output_spec(marked, *call.args[1:], **call.kwargs).shape
    if _MARK in moved:
        return moved.index(_MARK)
    return _FREE if axis == len(source.shape) - 1 else None
