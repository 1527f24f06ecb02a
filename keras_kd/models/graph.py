"""The call graph of a model with nested models expanded: which call produced which tensor.

Taps and logits are located in this graph; their values are captured while the model itself runs
(see hooks.py). The model is not changed.
"""

import functools
import inspect
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import tree

from keras_kd.models.keras_compat import (
    CompatModel,
    functional_of,
    get_mask,
    run_graph,
    set_mask,
    unwrap_message,
)


@dataclass(frozen=True)
class Call:
    """One call of a layer or `keras.ops` operation in a graph.

    Attributes:
        path: The layer's name, `outer/inner` inside nested models.
        layer: The layer or operation.
        args: Positional arguments.
        kwargs: Arguments by name.
        outputs: What it returned, as a flat list.
    """

    path: str
    layer: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: list[keras.KerasTensor]

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        """Symbolic tensors among the arguments."""
        return _tensors((self.args, self.kwargs))


@dataclass
class Graph:
    """Symbolic inputs and outputs of a model, and every call between them.

    Attributes:
        inputs: Symbolic inputs, in the structure of the model's inputs.
        outputs: Symbolic outputs, in the structure of the model's outputs.
        output_names: The names that Keras gives the outputs.
        calls: The calls of each layer in the order in which they run, by its path (`outer/inner`
            inside nested models).
        runs: The same by the id of the layer, which may have several paths.
        makers: The innermost call that produced a tensor, by the tensor's id.
        traced: Paths of the custom layers and subclassed models that were traced.
    """

    inputs: Any
    outputs: Any = None
    output_names: list[str] = field(default_factory=list)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    runs: dict[int, list[Call]] = field(default_factory=dict)
    makers: dict[int, Call] = field(default_factory=dict)
    traced: list[str] = field(default_factory=list)

    def record(self, call: Call) -> None:
        """Add one call."""
        self.calls.setdefault(call.path, []).append(call)
        self.runs.setdefault(id(call.layer), []).append(call)
        for tensor in call.outputs:
            self.makers.setdefault(id(tensor), call)

    def maker(self, tensor: keras.KerasTensor) -> Call | None:
        """Return the innermost call that produced a tensor, or `None` for an input."""
        return self.makers.get(id(tensor))

    def require_runnable(self, model: keras.Model) -> None:
        """Reject a graph that must not be run because it contains traced code.

        Raises:
            ValueError: If a custom layer or subclassed model was traced.
        """
        if self.traced:
            raise ValueError(
                f"Part of '{model.name}' cannot be extracted: {self.traced} are custom layers or "
                "subclassed models, whose `call` cannot be copied. Choose a tap outside them, or "
                "build the model with the functional API."
            )


class OpaqueModelError(ValueError):
    """Raised for a model whose `call` does not run on symbolic tensors."""


def with_activation(layer: Any) -> Any:
    """Return the layer that holds the activation: the wrapped layer of a `TimeDistributed`."""
    return layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer


def open_graph(model: keras.Model, inside: Iterable[str] = (), training: bool = False) -> Graph:
    """Read the graph of a model and expand nested Functional and Sequential models.

    The graph is for inspection. Where a custom layer or subclassed model was traced
    (`Graph.traced`), values that its `call` computes from variables are constants, so the graph
    must not be run.

    Raises:
        OpaqueModelError: If a traced `call` does not run on symbolic tensors.
    """
    reader = _Reader(set(inside), training)
    if is_graph(model):
        functional = functional_of(model)
    else:
        reader.graph.traced.append(model.name)
        functional = reader.trace(model, (built_inputs(model),), {})
    inputs = tree.map_structure(_fresh_input, functional.input)
    reader.graph.inputs = inputs
    reader.graph.output_names = functional.output_names
    reader.graph.outputs = reader.replay(functional, inputs, "")
    return reader.graph


class _Reader:
    """Calls every layer of a model again on symbolic tensors and records the calls."""

    def __init__(self, inside: set[str], training: bool) -> None:
        self.inside = inside
        self.training = training
        self.graph = Graph(inputs=None)

    def replay(self, functional: keras.Model, inputs: Any, prefix: str) -> Any:
        # A `training` that Keras stored in a call is kept: the outermost call overrides it.
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return self.call(layer, args, kwargs, prefix + layer.name)

        # `clone_model` would replace the intermediate tensors.
        return run_graph(functional, inputs, call)

    def call(self, layer: Any, args: tuple, kwargs: dict, path: str) -> Any:
        wanted = any(name.startswith(path + "/") for name in self.inside)
        if is_graph(layer):
            outputs = self.replay_masked(functional_of(layer), args, kwargs, path + "/")
        elif wanted and isinstance(layer, keras.layers.Layer):
            self.graph.traced.append(path)
            inner = self.trace(layer, args, kwargs)
            outputs = self.replay(inner, _tensors((args, kwargs)), path + "/")
        else:
            outputs = layer(*args, **kwargs)
        self.graph.record(Call(path, layer, args, kwargs, tree.flatten(outputs)))
        return outputs

    def replay_masked(self, functional: keras.Model, args: tuple, kwargs: dict, prefix: str) -> Any:
        """Replay a nested model with the masks of its call, as Keras runs it."""
        others = {name: value for name, value in kwargs.items() if name != "mask"}
        inputs = _tensors((args, others))
        before = [get_mask(x) for x in inputs]
        for x, mask in zip(inputs, tree.flatten(kwargs.get("mask")), strict=False):
            if mask is not None:
                set_mask(x, mask)
        outputs = self.replay(functional, inputs, prefix)
        for x, mask in zip(inputs, before, strict=True):
            set_mask(x, mask)
        return outputs

    def trace(self, layer: keras.layers.Layer, args: tuple, kwargs: dict) -> keras.Model:
        """Return the `call` of a custom layer or subclassed model as a Functional model."""
        args, kwargs = tree.map_structure(_fresh, (args, kwargs))
        if "training" in inspect.signature(layer.call).parameters:
            kwargs = {**kwargs, "training": self.training}
        plain = len(args) == 1 and not _tensors(kwargs)
        inputs = args[0] if plain else _tensors((args, kwargs))
        try:
            return keras.Model(inputs, layer.call(*args, **kwargs), name=layer.name)
        except Exception as error:
            raise OpaqueModelError(
                f"'{layer.name}' ({type(layer).__name__}) cannot be inspected: its `call` does not "
                "run on symbolic tensors. Write `call` with Keras layers and keras.ops, or build "
                f"the model with the functional API. The cause: {first_line(error)}"
            ) from error


def require_built(model: Any, what: str) -> None:
    """Reject anything but a built `keras.Model` that is not a distiller itself.

    Raises:
        TypeError: If `model` is not a `keras.Model`, or is a distiller.
        ValueError: If it is not built.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"{what} must be a keras.Model (a tf_keras model is not one). "
            f"Received: {model!r} (of type {type(model).__name__}){_loading_hint(model)}"
        )
    if isinstance(model, CompatModel):
        raise model.not_plain(what)
    if not model.built:
        raise ValueError(
            f"{what} '{model.name}' is not built, so its outputs are not known yet. Build it "
            "first, for example with `model.build(input_shape)` or by calling it on one batch."
        )


def _loading_hint(path: Any) -> str:
    """Return how to load a model, if the path of a file was passed in its place."""
    if not isinstance(path, (str, os.PathLike)):
        return ""
    path = os.fspath(path)
    if path.endswith(".tflite"):
        return f". A .tflite file can be a teacher: kd.Teacher.from_tflite('{path}')"
    return f". Load the file first: keras.models.load_model('{path}')"


def built_inputs(model: keras.layers.Layer) -> Any:
    """Return symbolic inputs of a built model, with an unknown batch size.

    Raises:
        OpaqueModelError: If the shape that the model was built for is not known.
    """
    structure = input_structure(model)
    if structure is None:
        raise OpaqueModelError(
            f"The input shape of '{model.name}' is not known. Call it on one batch before it is "
            "used here; a model with several inputs must be built with the functional API."
        )
    return tree.map_structure(_fresh_input, structure)


def input_structure(model: keras.layers.Layer) -> Any:
    """Return the symbolic inputs of a built model, or `None` if they are not known."""
    if is_functional(model):
        return _inputs_and_outputs(model)[0]
    if isinstance(model, keras.Sequential) and model.built:
        return input_structure(model.layers[0])  # Such as a model with dict inputs.
    shape = (model.get_build_config() or {}).get("input_shape")
    return None if shape is None else _inputs_like(shape)


def input_shapes(model: keras.Model) -> list[tuple] | None:
    """Return the flat list of a model's input shapes, or `None` if they are not known."""
    try:
        return [tuple(tensor.shape) for tensor in tree.flatten(built_inputs(model))]
    except OpaqueModelError:
        return None


def is_functional(model: Any) -> bool:
    """Return whether a model declares its inputs: Functional, or Sequential with one input."""
    if isinstance(model, keras.Sequential):
        # The inputs of a Sequential that begins with a model of several inputs are not its own.
        return model.built and hasattr(model, "inputs")
    return isinstance(model, _functional_class())


def is_graph(model: Any) -> bool:
    """Return whether a model is Functional or a built Sequential, without a `call` of its own."""
    # With a `call` of its own, the model does not run its graph.
    parent = keras.Sequential if isinstance(model, keras.Sequential) else _functional_class()
    return is_functional(model) and type(model).call is parent.call


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class."""
    return (unwrap_message(error).strip() or type(error).__name__).splitlines()[0]


def _inputs_and_outputs(model: keras.Model) -> tuple[Any, Any]:
    if isinstance(model, keras.Sequential):
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


def _inputs_like(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {name: _inputs_like(part) for name, part in shape.items()}
    if shape and isinstance(shape[0], (list, tuple, dict)):
        return [_inputs_like(part) for part in shape]
    return keras.Input(batch_shape=(None, *shape[1:]))


def _tensors(arguments: Any) -> list[keras.KerasTensor]:
    return [part for part in tree.flatten(arguments) if isinstance(part, keras.KerasTensor)]


def _fresh(argument: Any) -> Any:
    return _fresh_input(argument) if isinstance(argument, keras.KerasTensor) else argument


def _fresh_input(tensor: keras.KerasTensor) -> keras.KerasTensor:
    # The batch size is unknown: the last batch of an epoch may be smaller.
    return keras.Input(batch_shape=(None, *tensor.shape[1:]), dtype=tensor.dtype, name=tensor.name)


@functools.cache
def _functional_class() -> type:
    # Keras does not export the class of `keras.Model(inputs, outputs)`.
    x = keras.Input((1,), name="probe")
    return type(keras.Model(x, x, name="probe"))
