"""Whether two models agree, on random input, and if not, from which layer on."""

from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.compression.tfmot import imports as legacy_keras
from keras_kd.models.graph import Graph
from keras_kd.models.precision import compute_in_float32

#: Largest difference allowed, as a part of the largest output.
TOLERANCE = 1e-5
_SAMPLES = 2
_SIZE = 16  # of a dimension that a model leaves open


def check_parity(model: keras.Model, bridged: Any, tensors: dict[int, Any]) -> None:
    """Refuses a tf_keras model that does not compute what a Keras 3 model computes.

    Args:
        model: The Keras 3 model.
        bridged: What became of it: a `Bridged`.
        tensors: For each symbolic tensor of the graph, by its id, the one that stands for it.

    Raises:
        ValueError: When outputs or regularisation losses differ, with the first layer that does.
    """
    x = random_input(bridged.graph)
    with compute_in_float32(model):
        apart = _distance(model(x, training=False), bridged.run(x))
    if apart > TOLERANCE:
        raise ValueError(
            f"The tf_keras model does not compute what '{model.name}' computes: on random input "
            f"they differ by {apart:.2g} of the largest output, where {TOLERANCE:g} is allowed. "
            f"{_culprit(bridged, tensors, x)} Replace that layer in the student, or map it "
            "with `custom`."
        )
    both = (model, bridged.model)
    ours, theirs = (float(sum(keras.ops.sum(loss) for loss in m.losses)) for m in both)
    if abs(ours - theirs) > TOLERANCE * max(abs(ours), 1e-30):
        raise ValueError(
            f"The regularisation losses of '{model.name}' ({ours:.6g}) are not those of the "
            f"tf_keras model ({theirs:.6g}). Remove the regularizers that tf_keras computes "
            "otherwise."
        )


def random_input(graph: Graph, samples: int = _SAMPLES) -> Any:
    """Random samples such as a model takes, nested as its inputs: integers are small tokens."""
    rng = np.random.default_rng(0)
    tokens = _tokens(graph)

    def sample(tensor: keras.KerasTensor) -> np.ndarray:
        shape = (samples, *(_SIZE if size is None else size for size in tensor.shape[1:]))
        if tensor.dtype == "bool":
            return rng.random(shape) < 0.5
        if "int" in tensor.dtype:
            return rng.integers(0, tokens, shape).astype(tensor.dtype)
        return rng.normal(size=shape).astype(tensor.dtype)

    return tree.map_structure(sample, graph.inputs)


def _tokens(graph: Graph) -> int:
    """How many tokens every embedding of a model knows."""
    layers = [calls[0].layer for calls in graph.calls.values()]
    sizes = [x.input_dim for x in layers if isinstance(x, keras.layers.Embedding)]
    return min([*sizes, 100])


def _distance(ours: Any, theirs: Any) -> float:
    """The largest difference over the largest value, over all tensors of two structures."""
    worst = 0.0
    flat = [[np.asarray(x, "float64") for x in tree.flatten(part)] for part in (ours, theirs)]
    for one, other in zip(*flat, strict=True):
        if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
            return float("inf")
        largest = np.abs(one).max(initial=0.0, where=np.isfinite(one))
        difference = np.abs(one - other).max(initial=0.0, where=np.isfinite(one))
        worst = max(worst, float(difference / max(largest, 1e-30)) if difference else 0.0)
    return worst


def _culprit(bridged: Any, tensors: dict[int, Any], x: Any) -> str:
    """The sentence that names the first layer whose outputs differ."""
    shown = [
        (path, output, tensors[id(output)])
        for path, calls in bridged.graph.calls.items()
        for call in calls
        for output in call.outputs
        if id(output) in tensors
    ]
    inputs = bridged.graph.inputs
    ours = keras.Model(inputs, [output for _, output, _ in shown])(x, training=False)
    tf_keras = legacy_keras.tf_keras()
    theirs = bridged.run(x, tf_keras.Model(bridged.model.inputs, [t for _, _, t in shown]))
    for (path, _, _), one, other in zip(shown, ours, theirs, strict=True):
        if _distance(one, other) > TOLERANCE:
            return f"The first layer that differs is '{path}'."
    return ""
