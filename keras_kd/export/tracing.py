"""A Keras model as one TensorFlow graph in float32, with named inputs and outputs."""

from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.export import signature
from keras_kd.models.precision import in_float32


def trace(
    model: keras.Model, inputs: signature.Signature, batch_size: int | None
) -> tuple[Any, tuple[str, ...]]:
    """Returns the model as one graph of named inputs and outputs, and the outputs' names in order.

    Args:
        model: A built model.
        inputs: What it is called with.
        batch_size: The batch size of the graph, or `None` for any.

    Raises:
        ValueError: If the model makes weights when it is called: it was not built.
    """
    names: list[str] = []

    def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(inputs.pack(tensors), training=False)
        names[:] = signature.of_outputs(model, outputs)
        return dict(zip(names, tree.flatten(outputs), strict=True))

    specs = {
        name: tf.TensorSpec((batch_size, *spec.shape[1:]), spec.dtype, name=name)
        for name, spec in inputs.specs.items()
    }
    before = len(model.variables)
    with in_float32(model):
        function = tf.function(serve).get_concrete_function(**specs)
    if len(model.variables) != before:
        raise ValueError(
            f"Expected a built model. Received: model '{model.name}', some of whose layers had no "
            "weights yet. Call it on a batch of data (`build` alone may not reach them), and train "
            "or load it, before exporting it."
        )
    return function, tuple(names)


def refuse_loops(function: Any) -> None:
    """Refuses a graph whose calibration ends the process: a loop that collects what it computes.

    Args:
        function: The traced model.

    Raises:
        ValueError: If there is one.
    """
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    lists = [node.name for node in nodes if node.op in ("TensorListReserve", "EmptyTensorList")]
    if lists:
        layers = sorted({name.rpartition("/")[0] or name for name in lists})
        raise ValueError(
            "Expected layers that can be quantized to int8. Received: a loop over time steps "
            f"(LSTM, GRU, another RNN, or `map_fn`) in {layers}, which the converter cannot "
            'calibrate. Use quantization="dynamic" or "float16", or make these layers with '
            "`unroll=True`."
        )
