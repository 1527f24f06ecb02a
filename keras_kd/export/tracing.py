"""A Keras model as one TensorFlow graph in float32, with named inputs and outputs."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.export import signature


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
    with _float32(model):
        function = tf.function(serve).get_concrete_function(**specs)
    if len(model.variables) != before:
        raise ValueError(
            f"Expected a built model. Received: model '{model.name}', some of whose layers had no "
            "weights yet. Call it on a batch of data (`build` alone may not reach them), and train "
            "or load it, before exporting it."
        )
    return function, tuple(names)


@contextlib.contextmanager
def _float32(model: keras.Model) -> Iterator[None]:
    """Lets the layers compute in float32 for a while: LiteRT has few kernels for half floats.

    Raises:
        ValueError: If the weights themselves are not float32.
    """
    # Keras has no public way to layers within layers.
    layers = [(layer, layer.dtype_policy) for layer in model._flatten_layers()]
    dtypes = {v.dtype for v in model.weights if "float" in v.dtype} - {"float32"}
    others = {policy.name for _, policy in layers if not _is_plain(policy)}
    if dtypes or others:
        raise ValueError(
            f"Expected a model of float32 weights (mixed precision is fine). Received: model "
            f"'{model.name}' of {sorted(dtypes | others)}. Load its weights into the same model "
            "made in float32, and export that."
        )
    mixed = [(layer, policy) for layer, policy in layers if layer.compute_dtype != "float32"]
    try:
        for layer, _ in mixed:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in mixed:
            layer.dtype_policy = policy


def _is_plain(policy: keras.DTypePolicy) -> bool:
    """Whether a policy is one of dtypes only: not quantized, and not a map shared by layers."""
    shared = isinstance(policy, keras.dtype_policies.DTypePolicyMap)
    return not shared and policy.quantization_mode is None


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
