"""Initial ranges of quantized layers, taken from the float student on the data.

tensorflow-model-optimization starts each range at -6 to 6 and moves it by a thousandth per step, so
a short training would end with only a part of the 256 values in use.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from keras import tree

from keras_kd.compression.tfmot.converted_model import ConvertedModel, original_name
from keras_kd.compression.tfmot.imports import import_tf_keras

#: Minimum number of samples for the ranges, as for the calibration of an int8 export.
SAMPLES = 300
_ENDS = ("min", "max")


def set_initial_ranges(wrapped: Any, converted: ConvertedModel, batches: Iterable[Any]) -> None:
    """Set the ranges of a quantized model from the outputs of the float model on batches."""
    ranges = _measure_ranges(converted, batches)
    inputs = {tensor.name for tensor in wrapped.inputs}
    for layer in wrapped.layers:
        source = original_name(layer)
        if type(layer).__name__ == "QuantizeLayer":
            source = layer.inbound_nodes[-1].inbound_layers.name
        for variable in layer.weights:
            *_, name = variable.name.split(":")[0].split("/")
            quantity, _, end = name.rpartition("_")
            of_output = quantity in ("output", "post_activation") or source in inputs
            if end in _ENDS and of_output and source in ranges:
                variable.assign(ranges[source][_ENDS.index(end)])


def _measure_ranges(
    converted: ConvertedModel, batches: Iterable[Any]
) -> dict[str, tuple[float, float]]:
    """Return the minimum and maximum output of each layer, extended to zero (for padding)."""
    tensors = [
        (layer.name, tensor)
        for layer in converted.model.layers
        for node in layer.inbound_nodes
        for tensor in tree.flatten(node.outputs)
        if tensor.dtype.is_floating
    ]
    outputs = [tensor for _, tensor in tensors]
    model = import_tf_keras().Model(converted.model.inputs, outputs)
    ranges = defaultdict(lambda: (0.0, 0.0))
    for x in batches:
        for (name, _), value in zip(tensors, converted.run(x, model), strict=True):
            low, high = ranges[name]
            ranges[name] = (min(low, np.min(value)), max(high, np.max(value)))
    return ranges
