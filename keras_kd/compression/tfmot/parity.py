"""Comparison of a Keras 3 model and its tf_keras model on random inputs."""

from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.compression.tfmot.converted_model import ConvertedModel
from keras_kd.compression.tfmot.imports import import_tf_keras
from keras_kd.models.graph import Graph
from keras_kd.models.precision import compute_in_float32

#: Largest accepted difference, relative to the largest output.
TOLERANCE = 1e-5
_SAMPLES = 2
_SIZE = 16  # Size of each unspecified dimension.


def check_parity(model: keras.Model, converted: ConvertedModel, tensors: dict[int, Any]) -> None:
    """Check that a tf_keras model computes the same as the Keras 3 model.

    Raises:
        ValueError: If outputs or regularization losses differ; names the first layer that differs.
    """
    x = random_input(converted.graph)
    with compute_in_float32(model):
        difference = relative_difference(model(x, training=False), converted.run(x))
    if difference > TOLERANCE:
        raise ValueError(
            f"The tf_keras model does not compute the same as '{model.name}': on random inputs "
            f"they differ by {difference:.2g} of the largest output, and at most {TOLERANCE:g} is "
            f"accepted. {_first_difference(converted, tensors, x)} Replace that layer in the "
            "student, or map it with `custom`."
        )
    keras_loss, tf_keras_loss = (
        float(sum(keras.ops.sum(loss) for loss in m.losses)) for m in (model, converted.model)
    )
    if abs(keras_loss - tf_keras_loss) > TOLERANCE * max(abs(keras_loss), 1e-30):
        raise ValueError(
            f"The regularization losses of '{model.name}' ({keras_loss:.6g}) differ from those of "
            f"the tf_keras model ({tf_keras_loss:.6g}). Remove the regularizers that tf_keras "
            "computes differently."
        )


def random_input(graph: Graph, samples: int = _SAMPLES) -> Any:
    """Return random samples in the structure of a graph's inputs; integers are small tokens."""
    rng = np.random.default_rng(0)
    tokens = _vocabulary_size(graph)

    def sample(tensor: keras.KerasTensor) -> np.ndarray:
        shape = (samples, *(_SIZE if size is None else size for size in tensor.shape[1:]))
        if tensor.dtype == "bool":
            return rng.random(shape) < 0.5
        if "int" in tensor.dtype:
            return rng.integers(0, tokens, shape).astype(tensor.dtype)
        return rng.normal(size=shape).astype(tensor.dtype)

    return tree.map_structure(sample, graph.inputs)


def _vocabulary_size(graph: Graph) -> int:
    """Return the number of tokens that every embedding of a graph has."""
    layers = [calls[0].layer for calls in graph.calls.values()]
    sizes = [x.input_dim for x in layers if isinstance(x, keras.layers.Embedding)]
    return min([*sizes, 100])


def relative_difference(first: Any, second: Any) -> float:
    """Return the largest difference divided by the largest value, over all tensors."""
    worst = 0.0
    flat = [[np.asarray(x, "float64") for x in tree.flatten(part)] for part in (first, second)]
    for one, other in zip(*flat, strict=True):
        if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
            return float("inf")
        largest = np.abs(one).max(initial=0.0, where=np.isfinite(one))
        difference = np.abs(one - other).max(initial=0.0, where=np.isfinite(one))
        worst = max(worst, float(difference / max(largest, 1e-30)) if difference else 0.0)
    return worst


def _first_difference(converted: ConvertedModel, tensors: dict[int, Any], x: Any) -> str:
    """Return a sentence that names the first layer whose outputs differ."""
    compared = [
        (path, output, tensors[id(output)])
        for path, calls in converted.graph.calls.items()
        for call in calls
        for output in call.outputs
        if id(output) in tensors
    ]
    inputs = converted.graph.inputs
    expected = keras.Model(inputs, [output for _, output, _ in compared])(x, training=False)
    model = import_tf_keras().Model(converted.model.inputs, [tensor for _, _, tensor in compared])
    for (path, _, _), one, other in zip(compared, expected, converted.run(x, model), strict=True):
        if relative_difference(one, other) > TOLERANCE:
            return f"The first layer that differs is '{path}'."
    return ""
