"""The kernels of a tf_keras layer that can be pruned and clustered."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import numpy as np

_CELLS = ("LSTMCell", "GRUCell", "SimpleRNNCell")
_ATTENTION = ("query", "key", "value", "output")
_ATTRIBUTES = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Dense"), ("kernel",)),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), ("kernel",)),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), ("pointwise_kernel",)),
    "Embedding": ("embeddings",),
    "MultiHeadAttention": tuple(f"_{part}_dense.kernel" for part in _ATTENTION),
}


def get_kernels(layer: Any) -> Mapping[str, np.ndarray]:
    """Return the kernels of a built tf_keras layer by name; empty for a layer of another class."""
    kind = type(layer).__name__
    if kind == "Bidirectional":
        both = {"forward": layer.forward_layer, "backward": layer.backward_layer}
        found = {side: get_kernels(one) for side, one in both.items()}
        if not all(found.values()):
            return {}
        return {f"{side}.{name}": k for side, ks in found.items() for name, k in ks.items()}
    if kind in ("LSTM", "GRU", "SimpleRNN", "RNN"):
        return _get_cell_kernels(layer.cell)
    return {name: attrgetter(name)(layer).numpy() for name in _ATTRIBUTES.get(kind, ())}


def _get_cell_kernels(cell: Any) -> Mapping[str, np.ndarray]:
    cells = cell.cells if type(cell).__name__ == "StackedRNNCells" else [cell]
    if not all(type(one).__name__ in _CELLS for one in cells):
        return {}
    return {
        f"{one.name}.{name}" if len(cells) > 1 else name: getattr(one, name).numpy()
        for one in cells
        for name in ("kernel", "recurrent_kernel")
    }
