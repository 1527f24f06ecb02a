"""Change the precision in which a model computes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import tree

from keras_kd.models.copy import copy_layer
from keras_kd.models.graph import Call, Graph, first_line, is_graph, open_graph
from keras_kd.models.keras_compat import nested_layers

DTYPES = ("bfloat16", "float16", "float32")
# Their statistics need more than eight bits of precision, and they compute in float32 anyway.
_NORMALIZATION = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
)


@contextlib.contextmanager
def compute_in_float32(model: keras.Model) -> Iterator[None]:
    """Temporarily make the layers of a mixed-precision model compute in float32.

    LiteRT has few half-precision kernels, and tf_keras does not support Keras 3 policies.

    Raises:
        ValueError: If the weights are not float32.
    """
    layers = [(layer, layer.dtype_policy) for layer in nested_layers(model)]
    dtypes = {v.dtype for v in model.weights if "float" in v.dtype} - {"float32"}
    unsupported = {policy.name for _, policy in layers if not _is_dtype_only(policy)}
    if dtypes or unsupported:
        raise ValueError(
            f"Expected a model of float32 weights (mixed precision is allowed). Received: model "
            f"'{model.name}' with {sorted(dtypes | unsupported)}. Build the same model in float32 "
            "and load the weights into it."
        )
    mixed = [(layer, policy) for layer, policy in layers if layer.compute_dtype != "float32"]
    try:
        for layer, _ in mixed:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in mixed:
            layer.dtype_policy = policy


def cast_model(model: keras.Model, dtype: str) -> keras.Model:
    """Copy a model with weights and computation in another dtype.

    The layers that compute the outputs are float32, so that logits are not rounded to three digits.
    The weights of normalization layers are float32, too. Operations of `keras.ops` between the
    layers compute in the dtype of their inputs.

    Returns:
        A model with the same name and the same layer names.

    Raises:
        ValueError: If the dtype is unknown, the model is subclassed, or a layer cannot be copied.
    """
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {DTYPES}. Received: dtype={dtype!r}")
    if not is_graph(model):
        raise ValueError(
            f"`dtype` needs a Functional or Sequential model: the layers of '{model.name}', a "
            "subclassed model, cannot be copied one by one. Build it under "
            f"keras.config.set_dtype_policy('mixed_{dtype}') instead. Received: dtype={dtype!r}"
        )
    graph = open_graph(model)
    output_layers: set[int] = set()
    for tensor in tree.flatten(graph.outputs):
        _add_output_layers(graph, graph.maker(tensor), output_layers)

    def cast_layer(layer: Any) -> Any:
        return _cast_layer(layer, "float32" if id(layer) in output_layers else dtype)

    copy = keras.models.clone_model(model, clone_function=cast_layer, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _cast_layer(layer: Any, dtype: str) -> Any:
    """Return a copy of a layer that computes in another dtype, or of an operation."""
    mixed = isinstance(layer, _NORMALIZATION) and dtype != "float32"
    policy = {"dtype": f"mixed_{dtype}" if mixed else dtype}
    try:
        return copy_layer(layer, **(policy if isinstance(layer, keras.layers.Layer) else {}))
    except Exception as error:
        raise ValueError(
            f"`dtype` needs layers that can be copied, and '{layer.name}' "
            f"({type(layer).__name__}) cannot: its class must have a `get_config` with the "
            "arguments of its constructor, which must accept `dtype`. "
            f"Received: dtype={dtype!r}. The cause: {first_line(error)}"
        ) from error


def _is_dtype_only(policy: keras.DTypePolicy) -> bool:
    """Return whether a policy is neither quantized nor a map that layers share."""
    shared = isinstance(policy, keras.dtype_policies.DTypePolicyMap)
    return not shared and policy.quantization_mode is None


def _add_output_layers(graph: Graph, call: Call | None, found: set[int]) -> None:
    """Add the ids of the layers that compute an output, back to the first one with weights."""
    if call is None:
        return
    found.add(id(call.layer))
    if not getattr(call.layer, "weights", ()):
        for source in call.inputs:
            _add_output_layers(graph, graph.maker(source), found)
