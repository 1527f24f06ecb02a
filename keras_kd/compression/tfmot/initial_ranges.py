"""The ranges that quantized layers start from: those that the float student has on the data.

tensorflow-model-optimization starts each range at -6 to 6 and moves it by a thousandth in a step,
so a short training would end with a part of the 256 values of eight bits.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from keras import tree

from keras_kd.compression.tfmot import imports as legacy_keras
from keras_kd.compression.tfmot.convert import Bridged
from keras_kd.compression.tfmot.taps import original_name

#: How many samples the ranges are taken from, at least: as many as an int8 export calibrates with.
SAMPLES = 300
_ENDS = ("min", "max")


def set_ranges(wrapped: Any, bridged: Bridged, batches: Iterable[Any]) -> None:
    """Sets the ranges of inputs and outputs of the layers of a quantized model.

    Args:
        wrapped: The quantized tf_keras model.
        bridged: The float model that it was made of.
        batches: What the model takes.
    """
    found = _ranges(bridged, batches)
    inputs = {tensor.name for tensor in wrapped.inputs}
    for layer in wrapped.layers:
        source = original_name(layer)
        if type(layer).__name__ == "QuantizeLayer":
            source = layer.inbound_nodes[-1].inbound_layers.name
        for variable in layer.weights:
            *_, name = variable.name.split(":")[0].split("/")
            what, _, end = name.rpartition("_")
            of_output = what in ("output", "post_activation") or source in inputs
            if end in _ENDS and of_output and source in found:
                variable.assign(found[source][_ENDS.index(end)])


def _ranges(bridged: Bridged, batches: Iterable[Any]) -> dict[str, tuple[float, float]]:
    """The least and greatest value that each layer gives; 0, which stands for padding, is one."""
    tensors = [
        (layer.name, tensor)
        for layer in bridged.model.layers
        for node in layer.inbound_nodes
        for tensor in tree.flatten(node.outputs)
        if tensor.dtype.is_floating
    ]
    shown = legacy_keras.tf_keras().Model(bridged.model.inputs, [tensor for _, tensor in tensors])
    ends = defaultdict(lambda: (0.0, 0.0))
    for x in batches:
        for (name, _), value in zip(tensors, bridged.run(x, shown), strict=True):
            low, high = ends[name]
            ends[name] = (min(low, np.min(value)), max(high, np.max(value)))
    return ends
