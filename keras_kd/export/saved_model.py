"""A Keras model as TensorFlow graphs in float32, with named inputs and outputs."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.export.pre_post_processing import Ends
from keras_kd.litert import signature
from keras_kd.models.precision import compute_in_float32
from keras_kd.models.taps import Tap, TappedModel


@dataclass(frozen=True)
class Traced:
    """A model's graphs, one for each signature of the file.

    Attributes:
        variables: The model's variables, as TensorFlow has them.
        functions: The graphs by the names of their signatures.
        outputs: The names of each one's outputs, in the model's order.
        shapes: The shapes of the model's own outputs, by their names.
        ends: What the graphs do beside the model.
        layers: The names of the model's layers.
    """

    variables: list[tf.Variable]
    functions: dict[str, Any]
    outputs: dict[str, tuple[str, ...]]
    shapes: dict[str, tuple[int | None, ...]]
    ends: Ends
    layers: frozenset[str]

    @property
    def ops(self) -> set[str]:
        """The kinds of ops in the graphs."""
        return {node.op for node in self._nodes()}

    @property
    def rounds(self) -> bool:
        """Whether the model was trained with the rounding of int8: it brings its own ranges."""
        return any(op.startswith("FakeQuantWithMinMaxVars") for op in self.ops)

    @property
    def loops(self) -> list[str]:
        """The layers that loop and collect what they compute, whose calibration ends a process."""
        return self.places("TensorListReserve", "EmptyTensorList")

    def places(self, *ops: str) -> list[str]:
        """The layers in which ops of some kinds are."""
        names = {node.name for node in self._nodes() if node.op in ops}
        return sorted({layer_of(name, self.layers) for name in names})

    def save(self, folder: Path) -> None:
        """Writes the graphs as a SavedModel, from which they are converted."""
        module = tf.Module()
        module.variables_ = self.variables
        tf.saved_model.save(module, str(folder), signatures=self.functions)

    def _nodes(self) -> Iterator[Any]:
        for function in self.functions.values():
            graph = function.graph.as_graph_def()
            yield from graph.node
            for inner in graph.library.function:
                yield from inner.node_def


def layer_of(node: str, layers: Set[str]) -> str:
    """Returns the path of the layer that a node of a graph is in.

    Args:
        node: The node's name, such as `sequential_1/dense_1/MatMul`: TensorFlow numbers names that
            are taken.
        layers: The names of the model's layers.
    """
    parts = node.split("/")[:-1] or [node]
    known = [part if part in layers else re.sub(r"_\d+$", "", part) for part in parts]
    return "/".join(part for part in known if part in layers) or "/".join(parts)


def trace(
    model: keras.Model,
    inputs: signature.Signature,
    batch_size: int | None,
    ends: Callable[[Mapping[str, tuple[int | None, ...]]], Ends],
    signatures: Mapping[str, str | None],
    loops: bool = True,
) -> Traced:
    """Traces a model once for each signature.

    Args:
        model: A built model.
        inputs: What it is called with.
        batch_size: The batch size of the graphs, or `None` for any.
        ends: Called with the shapes of the model's outputs by name: what the file does beside it.
        signatures: The tap that each signature gives, `None` for the model's own outputs.
        loops: Whether recurrent layers may loop; else they are written out, step by step.

    Raises:
        ValueError: If the model makes weights when it is called: it was not built. If loops are to
            be written out whose number of steps is free.
    """
    specs = {
        name: tf.TensorSpec((batch_size, *spec.shape[1:]), spec.dtype, name=name)
        for name, spec in inputs.specs.items()
    }
    before = len(model.variables)
    functions, outputs = {}, {}
    with compute_in_float32(model), contextlib.nullcontext() if loops else _unrolled(model):
        whole, names = _whole(model, inputs, specs)
        shapes = {name: tuple(t.shape) for name, t in whole.structured_outputs.items()}
        around = ends(shapes)
        for key, tap in signatures.items():
            inner = whole if tap is None else _part(model, tap, inputs, specs)
            functions[key] = _between(inner, around, specs, whole=tap is None)
            outputs[key] = names if tap is None else (signature.identifier(tap),)
    if len(model.variables) != before:
        raise ValueError(
            f"Expected a built model. Received: model '{model.name}', some of whose layers had no "
            "weights yet. Call it on a batch of data (`build` alone may not reach them), and train "
            "or load it, before exporting it."
        )
    layers = frozenset(layer.name for layer in model._flatten_layers(include_self=False))
    return Traced([v.value for v in model.variables], functions, outputs, shapes, around, layers)


def _whole(
    model: keras.Model, inputs: signature.Signature, specs: Mapping[str, tf.TensorSpec]
) -> tuple[Any, tuple[str, ...]]:
    """Returns the graph of a model, and the names of its outputs in order."""
    names: list[str] = []

    def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(inputs.pack(tensors), training=False)
        names[:] = signature.of_outputs(model, outputs)
        return dict(zip(names, tree.flatten(outputs), strict=True))

    return tf.function(serve).get_concrete_function(**specs), tuple(names)


def _part(
    model: keras.Model,
    tap: str,
    inputs: signature.Signature,
    specs: Mapping[str, tf.TensorSpec],
) -> Any:
    """Returns the graph of what stands at a tap."""
    place, name = Tap(tap), signature.identifier(tap)
    tapped = TappedModel(model, [place])

    def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: tapped(inputs.pack(tensors))[1][place]}

    return tf.function(serve).get_concrete_function(**specs)


def _between(inner: Any, ends: Ends, specs: Mapping[str, tf.TensorSpec], whole: bool) -> Any:
    """Returns a graph with what the file does before it, and behind the model's own outputs."""

    def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = inner(**ends.enter(tensors))
        return ends.leave(outputs) if whole else outputs

    return tf.function(serve).get_concrete_function(**specs)


@contextlib.contextmanager
def _unrolled(model: keras.Model) -> Iterator[None]:
    """Lets the recurrent layers unroll for a while.

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
            f"Expected a fixed number of time steps, to write the recurrent layers out step by "
            f"step. Received: model '{model.name}', where it is free. Build it on an input of "
            'fixed length, or use quantization="dynamic" or "float16".'
        ) from error
    finally:
        for layer, unroll in zip(recurrent, before, strict=True):
            layer.unroll = unroll
