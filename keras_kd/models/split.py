"""Split a model at a layer."""

import keras
from keras import tree

from keras_kd.models.graph import Graph, open_graph
from keras_kd.models.tap_places import find_place
from keras_kd.models.taps import named_outputs


def locate_layer(model: keras.Model, graph: Graph, tap: str) -> keras.KerasTensor:
    """Return the tensor at a tap of a graph.

    Raises:
        ValueError: If the tap does not exist or is ambiguous.
    """
    outputs = named_outputs(graph.outputs, graph.output_names)
    return find_place(model, graph, tap, outputs).tensor


def model_after(model: keras.Model, tap: str, name: str) -> keras.Model:
    """Copy the part of a model after a tap, with its weights.

    Returns:
        A Functional `keras.Model` from the tap to the model's outputs, with weights of its own.

    Raises:
        ValueError: If the tap does not exist, or the model's outputs depend on other tensors too.
    """
    tail = layers_after(model, tap)
    copy = keras.models.clone_model(tail)
    copy.set_weights(tail.get_weights())
    copy.name = name
    return copy


def layers_after(model: keras.Model, tap: str) -> keras.Model:
    """Return the part of a model after a tap.

    Returns:
        A Functional `keras.Model` from the tap to the model's outputs, of the model's own layers.

    Raises:
        ValueError: If the tap does not exist, or the model's outputs depend on other tensors too.
    """
    graph = open_graph(model, inside=[tap])
    graph.require_runnable(model)
    start = locate_layer(model, graph, tap)
    require_single_path(model, graph, start, tap)
    outputs = graph.outputs
    if isinstance(outputs, (list, tuple)) and len(outputs) == 1:
        outputs = outputs[0]
    # A model cannot return its own input: a layer is needed between a tap and an output.
    return keras.Model(
        start,
        tree.map_structure(lambda x: keras.layers.Identity()(x) if x is start else x, outputs),
    )


def require_single_path(
    model: keras.Model, graph: Graph, start: keras.KerasTensor, tap: str
) -> None:
    """Reject a tap if another path leads from the model's inputs to its outputs.

    Raises:
        ValueError: If there is another path.
    """
    pending = list(named_outputs(graph.outputs).values())
    seen = {id(start)}
    while pending:
        tensor = pending.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        call = graph.maker(tensor)
        if call is None:
            raise ValueError(
                f"The output of '{model.name}' depends on more than its tap '{tap}', so the layers "
                "after the tap are not a complete classifier. Choose a tap that all paths pass "
                "through, such as the pooled features."
            )
        pending.extend(call.inputs)
