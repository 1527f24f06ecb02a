"""The graph of a model with its nested models opened: which call made which tensor.

Taps and logits are both read off this graph; the values are then recorded while the model itself
runs (see recording.py). Nothing of the model is changed.
"""

import functools
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import tree


@dataclass(frozen=True)
class Call:
    """One call of one layer (or of one keras.ops operation) in a graph."""

    path: str
    layer: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: list[keras.KerasTensor]

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        """The symbolic tensors among the arguments."""
        return _tensors((self.args, self.kwargs))


@dataclass
class Graph:
    """An opened graph: symbolic inputs and outputs as the model has them, every call between.

    `output_names` are Keras's. `calls` maps the path of a layer (`outer/inner` inside
    nested models) to its calls, in order.
    """

    inputs: Any
    outputs: Any = None
    output_names: list[str] = field(default_factory=list)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    makers: dict[int, Call] = field(default_factory=dict)
    traced: list[str] = field(default_factory=list)

    def note(self, path: str, layer: Any, args: tuple, kwargs: dict, outputs: Any) -> None:
        """Remembers one call."""
        call = Call(path, layer, args, kwargs, tree.flatten(outputs))
        self.calls.setdefault(path, []).append(call)
        for tensor in call.outputs:
            self.makers.setdefault(id(tensor), call)

    def maker(self, tensor: keras.KerasTensor) -> Call | None:
        """The innermost call that made a tensor, or `None` for an input."""
        return self.makers.get(id(tensor))

    def require_runnable(self, model: keras.Model) -> None:
        """Refuses a graph from which a model shall be built, where it is not what the model does.

        Raises:
            ValueError: When a custom layer or subclassed model was opened for it.
        """
        if self.traced:
            raise ValueError(
                f"A part of '{model.name}' cannot be taken out, since {self.traced} are custom "
                "layers or subclassed models: what their `call` computes is not theirs to copy. "
                "Choose a tap outside them, or build the model with the functional API."
            )


class OpaqueModelError(ValueError):
    """A model whose graph cannot be read: its `call` does not run on symbolic tensors."""


def with_activation(layer: Any) -> Any:
    """The layer that holds the activation: the wrapped one for `TimeDistributed`."""
    return layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer


def open_graph(model: keras.Model, inside: Iterable[str] = (), training: bool = False) -> Graph:
    """Reads the graph of a model, nested Functional and Sequential models opened.

    It is for reading: which layers there are, what they are called with, what makes the outputs.
    Where a custom layer or a subclassed model had to be opened for it (`traced`), values that its
    `call` computes from variables have become constants, so such a graph must not be run.

    Args:
        model: A built `keras.Model`: Functional, Sequential or subclassed.
        inside: Paths that are wanted; a custom layer or subclassed model on the way to one of them
            is opened too.
        training: What an opened subclassed model's `call` is told. Defaults to `False`.

    Returns:
        The `Graph`.

    Raises:
        OpaqueModelError: When `call` of a subclassed model does not run on symbolic tensors.
    """
    reader = _Reader(set(inside), training)
    if is_graph(model):
        functional = keras.Model(*_ends(model), name=model.name)
    else:
        reader.graph.traced.append(model.name)
        functional = reader.traced(model, (built_inputs(model),), {})
    inputs = tree.map_structure(_fresh_input, functional.input)
    reader.graph.inputs = inputs
    reader.graph.output_names = functional.output_names
    reader.graph.outputs = reader.replay(functional, inputs, "")
    return reader.graph


class _Reader:
    """Calls every layer of a model once more on symbolic tensors and notes what happens."""

    def __init__(self, inside: set[str], training: bool) -> None:
        self.inside = inside
        self.training = training
        self.graph = Graph(inputs=None)

    def replay(self, functional: keras.Model, inputs: Any, prefix: str) -> Any:
        # A `training` that Keras wrote into a call stays: the outermost call overrides it.
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return self.call(layer, args, kwargs, prefix + layer.name)

        # No public way runs a nested graph on intermediate tensors: `clone_model` replaces them.
        return functional._run_through_graph(inputs, call_fn=call)

    def call(self, layer: Any, args: tuple, kwargs: dict, path: str) -> Any:
        wanted = any(name.startswith(path + "/") for name in self.inside)
        # A mask given to the nested model would be lost on the way in.
        if is_graph(layer) and (wanted or kwargs.get("mask") is None):
            inner = keras.Model(*_ends(layer), name=layer.name)
            outputs = self.replay(inner, _tensors((args, kwargs)), path + "/")
        elif wanted and isinstance(layer, keras.layers.Layer):
            self.graph.traced.append(path)
            inner = self.traced(layer, args, kwargs)
            outputs = self.replay(inner, _tensors((args, kwargs)), path + "/")
        else:
            outputs = layer(*args, **kwargs)
        self.graph.note(path, layer, args, kwargs, outputs)
        return outputs

    def traced(self, layer: keras.layers.Layer, args: tuple, kwargs: dict) -> keras.Model:
        """What the `call` of a custom layer or subclassed model does, as a Functional model."""
        args, kwargs = tree.map_structure(_fresh, (args, kwargs))
        if "training" in inspect.signature(layer.call).parameters:
            kwargs = {**kwargs, "training": self.training}
        plain = len(args) == 1 and not _tensors(kwargs)
        inputs = args[0] if plain else _tensors((args, kwargs))
        try:
            return keras.Model(inputs, layer.call(*args, **kwargs), name=layer.name)
        except Exception as error:
            raise OpaqueModelError(
                f"'{layer.name}' ({type(layer).__name__}) cannot be looked into: its `call` does "
                "not run on symbolic tensors. Write `call` with Keras layers and keras.ops, or "
                f"build the model with the functional API. The cause: {_first_line(error)}"
            ) from error


def require_built(model: Any, what: str) -> None:
    """Refuses what is not a built `keras.Model`.

    Raises:
        TypeError: When `model` is not a `keras.Model`.
        ValueError: When it has no weights yet.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"{what} must be a keras.Model (a tf_keras model is not one). "
            f"Received: {model!r} (of type {type(model).__name__})"
        )
    if not model.built:
        raise ValueError(
            f"{what} '{model.name}' is not built, so its outputs are not known yet. Build it "
            "first, for example with `model.build(input_shape)` or by calling it on one batch."
        )


def built_inputs(model: keras.layers.Layer) -> Any:
    """Symbolic inputs of a built model, with the batch left open.

    Raises:
        OpaqueModelError: When the model does not say which shape it was built for.
    """
    if isinstance(model, (keras.Sequential, _functional_class())) and model.built:
        return tree.map_structure(_fresh_input, _ends(model)[0])
    shape = (model.get_build_config() or {}).get("input_shape")
    if shape is None:
        raise OpaqueModelError(
            f"The input shape of '{model.name}' is not known. Call it on one batch before it is "
            "used here; a model with several inputs must be built with the functional API."
        )
    return _inputs_like(shape)


def input_shapes(model: keras.Model) -> list[tuple] | None:
    """Shapes of a model's inputs, flat; `None` where it does not know them."""
    try:
        return [tuple(tensor.shape) for tensor in tree.flatten(built_inputs(model))]
    except OpaqueModelError:
        return None


def is_graph(model: Any) -> bool:
    """Whether a model was made of symbolic tensors: Functional, or a built Sequential."""
    if isinstance(model, keras.Sequential):
        return model.built and type(model).call is keras.Sequential.call
    functional = _functional_class()
    # With a `call` of its own the graph is not what the model does.
    return isinstance(model, functional) and type(model).call is functional.call


def _ends(model: keras.Model) -> tuple[Any, Any]:
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
    # The number of samples is left open: the last batch of an epoch may be smaller.
    return keras.Input(batch_shape=(None, *tensor.shape[1:]), dtype=tensor.dtype, name=tensor.name)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


@functools.cache
def _functional_class() -> type:
    # Keras does not export the class that `keras.Model(inputs, outputs)` makes.
    x = keras.Input((1,), name="probe")
    return type(keras.Model(x, x, name="probe"))
