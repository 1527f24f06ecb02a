"""A model cut in two at a layer: what leads to its output, and what follows it."""

import keras
from keras import tree

from keras_kd.models.graph import Graph, open_graph
from keras_kd.models.taps import named_outputs, only_tensor


def locate_layer(model: keras.Model, graph: Graph, tap: str) -> keras.KerasTensor:
    """The tensor at a tap of an opened graph.

    Args:
        model: The model.
        graph: Its graph, opened with the tap in `inside`.
        tap: A layer's name, `outer/inner` inside a nested model.

    Returns:
        A symbolic tensor of the graph.

    Raises:
        ValueError: When the tap does not exist or is no single place.
    """
    return only_tensor(model, graph.calls, tap, named_outputs(graph.outputs, graph.output_names))


def model_after(model: keras.Model, tap: str, name: str) -> keras.Model:
    """A copy of what a model has after a tap, with its weights.

    Args:
        model: A built `keras.Model` whose graph can be read; it stays as it is.
        tap: The layer after which the part begins.
        name: Name of the copy.

    Returns:
        A Functional `keras.Model` from the tap's output to the model's outputs; it shares no weight
        with the model.

    Raises:
        ValueError: When the tap does not exist, or the model's output depends on more than it.
    """
    graph = open_graph(model, inside=[tap])
    graph.require_runnable(model)
    start = locate_layer(model, graph, tap)
    require_single_path(model, graph, start, tap)
    outputs = graph.outputs
    if isinstance(outputs, (list, tuple)) and len(outputs) == 1:
        outputs = outputs[0]
    # A model cannot give its own input: where the tap is an output, something must lie between.
    own = keras.Model(
        start,
        tree.map_structure(lambda x: keras.layers.Identity()(x) if x is start else x, outputs),
    )
    copy = keras.models.clone_model(own)
    copy.set_weights(own.get_weights())
    copy.name = name
    return copy


def require_single_path(
    model: keras.Model, graph: Graph, start: keras.KerasTensor, tap: str
) -> None:
    """Refuses a tap beside which the model's input reaches its output.

    Args:
        model: The model.
        graph: Its opened graph.
        start: The tensor at the tap.
        tap: The tap's name.

    Raises:
        ValueError: When there is another way.
    """
    waiting = list(named_outputs(graph.outputs).values())
    seen = {id(start)}
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        call = graph.maker(tensor)
        if call is None:
            raise ValueError(
                f"The output of '{model.name}' depends on more than its tap '{tap}', so what "
                "follows the tap is no classifier of its own. Choose a tap that everything passes "
                "through, such as the pooled features."
            )
        waiting.extend(call.inputs)
