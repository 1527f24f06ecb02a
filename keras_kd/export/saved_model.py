"""Trace a Keras model to TensorFlow graphs in float32, with named inputs and outputs."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.export.conversion import hold_information, saved_names
from keras_kd.export.pre_post_processing import Processing
from keras_kd.litert import signature
from keras_kd.litert.signature import free_sizes_remedy
from keras_kd.models.graph import first_line, is_graph
from keras_kd.models.keras_compat import masked_logit
from keras_kd.models.kernel_arithmetic import float_rounding
from keras_kd.models.precision import compute_in_float32
from keras_kd.models.taps import Tap, TappedModel

#: Masked logits of an attention whose activations are quantized. They share one scale with the
#: others: with the -1e9 of Keras, all others would be rounded to the same number.
MASKED_LOGIT = -32.0


@dataclass(frozen=True)
class TracedModel:
    """The graphs of a model, one per signature of the file.

    Attributes:
        variables: The model's TensorFlow variables.
        functions: The graphs by signature name.
        outputs: Names of the outputs by signature, in the model's order.
        shapes: Shapes of the model's own outputs, by name.
        processing: Pre- and post-processing in the graphs.
        layers: Names of the model's layers.
    """

    variables: list[tf.Variable]
    functions: dict[str, Any]
    outputs: dict[str, tuple[str, ...]]
    shapes: dict[str, tuple[int | None, ...]]
    processing: Processing
    layers: frozenset[str]

    @property
    def ops(self) -> set[str]:
        """The types of ops in the graphs."""
        return {node.op for node in self._nodes()}

    @property
    def quantization_aware(self) -> bool:
        """Whether the model was trained for int8 and contains its own ranges."""
        return any(op.startswith("FakeQuantWithMinMaxVars") for op in self.ops)

    @property
    def loop_layers(self) -> list[str]:
        """Layers with a loop that collects results, whose calibration crashes the process."""
        return self.layers_with("TensorListReserve", "EmptyTensorList")

    def layers_with(self, *ops: str) -> list[str]:
        """Return the layers that contain an op of the given types."""
        names = {node.name for node in self._nodes() if node.op in ops}
        return sorted({layer_of(name, self.layers) for name in names})

    def layer_of(self, node: str) -> str:
        """Return the path of the layer that a node of a graph belongs to."""
        return layer_of(node, self.layers)

    def save(self, folder: Path) -> None:
        """Write the graphs as a SavedModel for the converter."""
        module = tf.Module()
        module.variables_ = self.variables
        functions = dict(
            zip(saved_names(tuple(self.functions)), self.functions.values(), strict=True)
        )
        with hold_information():
            tf.saved_model.save(module, str(folder), signatures=functions)

    def _nodes(self) -> Iterator[Any]:
        for function in self.functions.values():
            graph = function.graph.as_graph_def()
            yield from graph.node
            for inner in graph.library.function:
                yield from inner.node_def


def layer_of(node: str, layers: Set[str]) -> str:
    """Return the path of the layer that a node of a graph belongs to."""
    parts = node.split("/")[:-1] or [node]
    known = [part if part in layers else re.sub(r"_\d+$", "", part) for part in parts]
    return "/".join(part for part in known if part in layers) or "/".join(parts)


def trace(
    model: keras.Model,
    inputs: signature.Signature,
    batch_size: int | None,
    make_processing: Callable[[Mapping[str, tuple[int | None, ...]]], Processing],
    signatures: Mapping[str, str | None],
    loops: bool = True,
    quantized: bool = False,
) -> TracedModel:
    """Trace a model once per signature.

    Args:
        model: A built model.
        inputs: Its inputs.
        batch_size: Batch size of the graphs, or `None` for any.
        make_processing: Called with the shapes of the model's outputs by name; returns the pre- and
            post-processing.
        signatures: The tap of each signature, `None` for the model's own outputs.
        loops: Whether recurrent layers stay loops; otherwise they are unrolled.
        quantized: Whether the activations will be quantized: masked logits of an attention are
            then `MASKED_LOGIT`. Defaults to `False`.

    Raises:
        ValueError: If calling the model creates weights, because it was not built, or if the number
            of steps of a loop to unroll is free.
    """
    specs = {
        name: tf.TensorSpec((batch_size, *spec.shape[1:]), spec.dtype, name=name)
        for name, spec in inputs.specs.items()
    }
    before = len(model.variables)
    functions, outputs = {}, {}
    with (
        compute_in_float32(model),
        float_rounding(),
        contextlib.nullcontext() if loops else _unroll_layers(model, inputs),
        masked_logit(MASKED_LOGIT) if quantized else contextlib.nullcontext(),
    ):
        main, names = _trace_model(model, inputs, specs)
        shapes = {name: tuple(t.shape) for name, t in main.structured_outputs.items()}
        processing = make_processing(shapes)
        for key, tap in signatures.items():
            inner = main if tap is None else _trace_tap(model, tap, inputs, specs)
            functions[key] = _add_processing(inner, processing, specs, outputs=tap is None)
            outputs[key] = names if tap is None else (signature.identifier(tap),)
    if len(model.variables) != before:
        raise ValueError(
            f"Expected a built model. Received: model '{model.name}', some of whose layers had no "
            "weights yet. Call it on a batch of data (`build` may not reach all layers), and train "
            "or load it, before the export."
        )
    layers = frozenset(layer.name for layer in model._flatten_layers(include_self=False))
    variables = [variable.value for variable in model.variables]
    return TracedModel(variables, functions, outputs, shapes, processing, layers)


def _trace_model(
    model: keras.Model, inputs: signature.Signature, specs: Mapping[str, tf.TensorSpec]
) -> tuple[Any, tuple[str, ...]]:
    """Return the graph of a model, and the names of its outputs in order."""
    names: list[str] = []

    def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(inputs.pack(tensors), training=False)
        names[:] = signature.output_names(model, outputs)
        return dict(zip(names, tree.flatten(outputs), strict=True))

    try:
        function = tf.function(serve, autograph=False)
        return function.get_concrete_function(**specs), tuple(names)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        if is_graph(model) or "Cannot unroll a RNN" in str(error):
            raise
        raise ValueError(_call_message(model, specs, error)) from error


def _call_message(model: keras.Model, specs: Mapping[str, tf.TensorSpec], error: Exception) -> str:
    """Return the message for a subclassed model that does not take its recorded inputs."""
    received = ", ".join(f"{name}: {spec.dtype.name} {spec.shape}" for name, spec in specs.items())
    return (
        f"Expected inputs that '{model.name}' can be called with; a subclassed model does not "
        f"record their dtypes. Received: {received}. Pass `input_signature`, the `tf.TensorSpec`s "
        "of its inputs, such as input_signature=tf.TensorSpec((None, 8), 'int32'). Cause: "
        f"{first_line(error)}"
    )


def _trace_tap(
    model: keras.Model,
    tap: str,
    inputs: signature.Signature,
    specs: Mapping[str, tf.TensorSpec],
) -> Any:
    """Return the graph of a model up to a tap."""
    place, name = Tap(tap), signature.identifier(tap)
    tapped = TappedModel(model, [place], own_layout=True)

    def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tapped(inputs.pack(tensors))[1][place]}

    return tf.function(serve, autograph=False).get_concrete_function(**specs)


def _add_processing(
    inner: Any, processing: Processing, specs: Mapping[str, tf.TensorSpec], outputs: bool
) -> Any:
    """Return a graph with pre-processing and, for the model's outputs, post-processing."""

    def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        values = inner(**processing.preprocess(tensors))
        return processing.postprocess(values) if outputs else values

    return tf.function(serve, autograph=False).get_concrete_function(**specs)


@contextlib.contextmanager
def _unroll_layers(model: keras.Model, inputs: signature.Signature) -> Iterator[None]:
    """Unroll the recurrent layers within a `with` block.

    Raises:
        ValueError: If the number of steps is free.
    """
    recurrent = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]
    before = [layer.unroll for layer in recurrent]
    try:
        for layer in recurrent:
            layer.unroll = True
        yield
    except ValueError as error:
        if "Cannot unroll a RNN" not in str(error):
            raise
        raise ValueError(
            f"Expected a fixed number of time steps, to unroll the recurrent layers. Received: "
            f"model '{model.name}', where it is free.{free_sizes_remedy(inputs)} Or build it on an "
            'input of fixed length, or use quantization="dynamic" or "float16".'
        ) from error
    finally:
        for layer, unroll in zip(recurrent, before, strict=True):
            layer.unroll = unroll
