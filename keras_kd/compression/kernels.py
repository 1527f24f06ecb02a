"""The weights of a tf_keras layer that tensorflow-model-optimization prunes and clusters."""

from collections.abc import Iterable, Mapping
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


def kernels_of(layer: Any) -> Mapping[str, np.ndarray]:
    """The kernels of a tf_keras layer by their names.

    Args:
        layer: A built tf_keras layer.

    Returns:
        Their values; none for a layer without kernels, or of a kind that is not known.
    """
    kind = type(layer).__name__
    if kind == "Bidirectional":
        both = {"forward": layer.forward_layer, "backward": layer.backward_layer}
        found = {side: kernels_of(one) for side, one in both.items()}
        if not all(found.values()):
            return {}
        return {f"{side}.{name}": k for side, ks in found.items() for name, k in ks.items()}
    if kind in ("LSTM", "GRU", "SimpleRNN", "RNN"):
        return _of_cells(layer.cell)
    return {name: attrgetter(name)(layer).numpy() for name in _ATTRIBUTES.get(kind, ())}


def noughts(kernels: Iterable[np.ndarray]) -> float:
    """The share of noughts in some kernels."""
    kernels = list(kernels)
    return sum(int((k == 0).sum()) for k in kernels) / sum(k.size for k in kernels)


def is_pruned(kernels: Iterable[np.ndarray]) -> bool:
    """Whether kernels have been pruned: training alone makes no noughts."""
    return noughts(kernels) >= 0.1


def is_clustered(kernel: np.ndarray, per_channel: bool) -> bool:
    """Whether a kernel has been clustered: training alone makes no two weights alike.

    Args:
        kernel: The kernel, its output channels last.
        per_channel: Whether the channels may have values of their own.
    """
    channels = kernel.reshape(-1, kernel.shape[-1]).T if per_channel else [kernel.ravel()]
    counts = [(np.unique(c[c != 0]).size, np.count_nonzero(c)) for c in channels]
    return all(values <= weights / 2 for values, weights in counts)


def _of_cells(cell: Any) -> Mapping[str, np.ndarray]:
    cells = getattr(cell, "cells", [cell])
    if not all(type(one).__name__ in _CELLS for one in cells):
        return {}
    return {
        f"{one.name}.{name}" if len(cells) > 1 else name: getattr(one, name).numpy()
        for one in cells
        for name in ("kernel", "recurrent_kernel")
    }
