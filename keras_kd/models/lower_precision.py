"""A copy of a model that computes in another type, its last layer in float32."""

import keras
from keras import tree

from keras_kd.models.graph import Call, Graph, is_graph, open_graph

DTYPES = ("bfloat16", "float16", "float32")
# Their statistics do not bear eight bits of precision, and they compute in float32 anyway.
_NORMALISING = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
)


def cast_model(model: keras.Model, dtype: str) -> keras.Model:
    """Copies a model into another type.

    Weights and computation are of that type, but for the layers that make the outputs, which are
    float32, so that logits are not rounded to three digits; weights of normalising layers stay
    float32 too.

    Args:
        model: A Functional or Sequential model.
        dtype: `"bfloat16"`, `"float16"` or `"float32"`.

    Returns:
        A model of the same name with layers of the same names.

    Raises:
        ValueError: When the type is unknown, or the model's layers cannot be copied one by one.
    """
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {DTYPES}. Received: dtype={dtype!r}")
    if not is_graph(model):
        raise ValueError(
            f"`dtype` needs a model of the functional API: '{model.name}' is a subclassed one, "
            f"whose layers cannot be copied one by one. Build it under "
            f"keras.config.set_dtype_policy('mixed_{dtype}') instead. Received: dtype={dtype!r}"
        )
    graph = open_graph(model)
    last: set[int] = set()
    for tensor in tree.flatten(graph.outputs):
        _mark_last(graph, graph.maker(tensor), last)

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        policy = dtype if id(layer) not in last else "float32"
        if isinstance(layer, _NORMALISING) and policy != "float32":
            policy = f"mixed_{dtype}"
        config["dtype"] = policy
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=copied, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _mark_last(graph: Graph, call: Call | None, last: set[int]) -> None:
    """Notes the layers that make an output: back to the first that has weights."""
    if call is None:
        return
    last.add(id(call.layer))
    if not getattr(call.layer, "weights", ()):
        for source in call.inputs:
            _mark_last(graph, graph.maker(source), last)
