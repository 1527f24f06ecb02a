"""Places worth pairing: behind learned weights, and before the outputs.

What comes before the first learned weights (preprocessing, augmentation, lookups) is no knowledge
of a model, and what becomes an output without further weights is the output itself.
"""

from typing import Any

import keras
from keras import tree

from keras_kd.models.graph import Call, Graph
from keras_kd.models.layouts import Layouts
from keras_kd.models.logits import changes_layout, inspect_output
from keras_kd.models.tap_places import Place

# Layout changes, dropout, augmentation and preprocessing: their outputs are not paired.
_PREFIXES = ("Cropping", "Random", "SpatialDropout", "ZeroPadding")
_NAMES = (
    *("ActivityRegularization", "AlphaDropout", "AugMix", "AutoContrast", "CategoryEncoding"),
    *("CenterCrop", "CutMix", "Discretization", "Dropout", "Equalization", "Flatten"),
    *("GaussianDropout", "GaussianNoise", "HashedCrossing", "Hashing", "Identity", "InputLayer"),
    *("IntegerLookup", "Masking", "MixUp", "Normalization", "Permute", "RandAugment"),
    *("Rescaling", "Reshape", "Resizing", "Solarization", "StringLookup", "TextVectorization"),
)
_NOT_PAIRED = tuple(
    getattr(keras.layers, name)
    for name in dir(keras.layers)
    if name in _NAMES or name.startswith(_PREFIXES)
)
_PREDICTIONS = ("logits", "softmax", "sigmoid")


class LearnedPlaces:
    """The places of a graph that are worth pairing.

    Args:
        graph: The graph of a model.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._layouts = Layouts(graph)
        self._behind_weights: dict[int, bool] = {}
        for calls in graph.calls.values():  # In this order, the recursion stays shallow.
            for call in calls:
                for tensor in call.outputs:
                    self._is_behind_weights(tensor)
        self._outputs: set[int] = set()
        for tensor in tree.flatten(graph.outputs):
            self._mark_output(tensor)
        self._used = _used_tensors(graph)

    def __contains__(self, place: Place) -> bool:
        tensor = place.tensor
        return (
            not isinstance(place.call.layer, _NOT_PAIRED)
            and "float" in tensor.dtype
            and self._graph.maker(tensor) is place.call  # And not the nested model around it.
            and id(tensor) in self._used - self._outputs
            and self._is_behind_weights(tensor)
        )

    def _is_behind_weights(self, tensor: keras.KerasTensor) -> bool:
        if id(tensor) not in self._behind_weights:
            call = self._graph.maker(tensor)
            self._behind_weights[id(tensor)] = call is not None and (
                has_learned_weights(call.layer) or any(map(self._is_behind_weights, call.inputs))
            )
        return self._behind_weights[id(tensor)]

    def _mark_output(self, tensor: keras.KerasTensor, combined: bool = False) -> None:
        """Mark an output, and what becomes the output without further weights.

        Args:
            tensor: The output.
            combined: Whether it is one of several tensors that are combined. Of a chain of residual
                connections, only the last one is followed.
        """
        call = self._graph.maker(tensor)
        self._outputs.add(id(tensor))
        if call is None or has_learned_weights(call.layer):
            return
        if len(call.inputs) == 1:
            if self._keeps_columns(call, tensor):
                self._mark_output(call.inputs[0], combined)
        elif not combined and all(map(self._is_prediction, call.inputs)):
            for x in call.inputs:
                self._mark_output(x, combined=True)

    def _keeps_columns(self, call: Call, tensor: keras.KerasTensor) -> bool:
        """Return whether a layer without weights only rearranges, maps or pools predictions."""
        (x,) = call.inputs
        if changes_layout(call.layer) or tuple(x.shape) == tuple(tensor.shape):
            return True
        axes = self._layouts.channel_axis(x), self._layouts.channel_axis(tensor)
        same = None not in axes and x.shape[axes[0]] == tensor.shape[axes[1]]
        return same and self._is_prediction(x)

    def _is_prediction(self, tensor: keras.KerasTensor) -> bool:
        """Return whether a tensor may be logits or probabilities, which can be averaged last."""
        return inspect_output(self._graph, tensor).kind in _PREDICTIONS


def _used_tensors(graph: Graph) -> set[int]:
    """Return the ids of the tensors on which an output depends."""
    used, pending = set(), tree.flatten(graph.outputs)
    while pending:
        tensor = pending.pop()
        if id(tensor) not in used:
            used.add(id(tensor))
            call = graph.maker(tensor)
            pending += call.inputs if call else []
    return used


def has_learned_weights(layer: Any) -> bool:
    """Return whether a layer has weights that training sets, frozen or not."""
    if isinstance(layer, keras.layers.Normalization):
        return False  # The statistics of the data.
    return any("float" in weight.dtype for weight in getattr(layer, "weights", ()))
