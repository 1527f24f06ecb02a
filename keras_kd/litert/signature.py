"""What goes into a model and comes out of it: names, shapes and dtypes, as its file has them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.models.graph import is_graph, require_built


@dataclass(frozen=True)
class Signature:
    """The inputs of a model: what it is called with, and a name for each tensor of it.

    Attributes:
        structure: `tf.TensorSpec`s, nested as the model's argument; the batch size is `None`.
        names: The names of the inputs, in the order in which `keras.tree.flatten` gives them.
    """

    structure: Any
    names: tuple[str, ...]

    @property
    def specs(self) -> dict[str, tf.TensorSpec]:
        """The specification of each input by its name."""
        return dict(zip(self.names, tree.flatten(self.structure), strict=True))

    def pack(self, tensors: Mapping[str, Any]) -> Any:
        """Returns named tensors in the structure that the model is called with."""
        return tree.pack_sequence_as(self.structure, [tensors[name] for name in self.names])


def of_inputs(model: keras.Model, input_signature: Any = None) -> Signature:
    """Returns the inputs of a built model.

    Args:
        model: A Functional, Sequential or subclassed model.
        input_signature: `tf.TensorSpec`s or `keras.InputSpec`s, nested as the model's argument, for
            a model that cannot tell (a subclassed one that takes integers). Defaults to `None`.

    Raises:
        TypeError: If the model is not a `keras.Model`.
        ValueError: If the model is not built, or does not know what it is called with.
    """
    require_built(model, "The model to export")
    if input_signature is not None:
        inputs = input_signature
    elif isinstance(model, keras.Sequential):
        inputs = model.inputs[0]
    elif is_graph(model):
        inputs = model.input
    else:
        inputs = _recorded_inputs(model)
    structure = tree.map_structure(_free_batch, inputs)
    defaults = [_default_name(spec, i) for i, spec in enumerate(tree.flatten(inputs))]
    return Signature(structure, tuple(by_name(structure, unique(defaults))))


def of_outputs(model: keras.Model, outputs: Any) -> tuple[str, ...]:
    """Returns the names of a model's outputs, in the order of `keras.tree.flatten`.

    Keys of a dictionary come first, then Keras's own names, then `output_0`, `output_1`, ...

    Args:
        model: The model.
        outputs: What the model gave (tensors or arrays, nested).
    """
    count = len(tree.flatten(outputs))
    if isinstance(model, keras.Sequential):
        defaults = [model.layers[-1].name]
    elif is_graph(model):
        defaults = list(model.output_names)
    else:
        defaults = [f"output_{i}" for i in range(count)]
    return tuple(by_name(outputs, unique([identifier(name) for name in defaults])))


def unpack(batch: Any) -> tuple[Any, Any]:
    """Returns x and y of a batch; y is `None` if there is none.

    Unlike `keras.utils.unpack_x_y_sample_weight` it leaves a list whole: several inputs, no labels.
    """
    if not isinstance(batch, tuple):
        return batch, None
    x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
    return x, y


def by_name(values: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns the leaves of a structure by their names: its own keys, or `names` in order.

    Args:
        values: Tensors, arrays or specifications: one, or several in lists, tuples or dictionaries.
        names: The names of the leaves that have no key of their own.

    Raises:
        ValueError: If there are more or fewer leaves than names and the leaves have no keys.
    """
    leaves = tree.flatten_with_path(values)
    keyed = [any(isinstance(step, str) for step in path) for path, _ in leaves]
    if not all(keyed) and len(leaves) != len(names):
        raise ValueError(
            f"Expected {len(names)} arrays, for {list(names)}. Received: {len(leaves)}. "
            "Several inputs are a list or a dictionary by name; a tuple is read as (x, y)."
        )
    return {
        identifier("_".join(map(str, path))) if has_key else names[i]: leaf
        for i, (has_key, (path, leaf)) in enumerate(zip(keyed, leaves, strict=True))
    }


def identifier(name: str) -> str:
    """Returns a name as a signature can carry it: letters, digits and underscores."""
    cleaned = re.sub(r"\W", "_", name)
    return f"_{cleaned}" if cleaned[:1].isdigit() else cleaned


def unique(names: Sequence[str]) -> list[str]:
    """Returns the names, each repeated one (a layer used twice) with its position behind it."""
    return [name if name not in names[:i] else f"{name}_{i}" for i, name in enumerate(names)]


def _recorded_inputs(model: keras.Model) -> Any:
    """Returns what a subclassed model was built with; the dtype, not recorded, is its default."""
    config = model.get_build_config() or {}
    if "input_shape" not in config:
        raise ValueError(
            f"Expected a model that is called with one argument (an array, a list or a dictionary "
            f"of arrays). Received: model '{model.name}', built with {config}. Pass "
            "`input_signature`, the `tf.TensorSpec`s of what it is called with."
        )
    return _map_shapes(config["input_shape"], model.input_dtype)


def _map_shapes(shapes: Any, dtype: str) -> Any:
    """Turns nested shapes into nested specifications (a shape is itself a tuple, or a list)."""
    if isinstance(shapes, Mapping):
        return {key: _map_shapes(shape, dtype) for key, shape in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return tf.TensorSpec(shapes, dtype)
    return [_map_shapes(shape, dtype) for shape in shapes]


def _free_batch(spec: Any) -> tf.TensorSpec:
    """Returns the specification with any batch size."""
    return tf.TensorSpec((None, *spec.shape[1:]), spec.dtype)


def _default_name(spec: Any, position: int) -> str:
    """Returns the name of an input; one that Keras numbered has no meaning, and is not stable."""
    name = getattr(spec, "name", None)
    return f"input_{position}" if not name or name.startswith("keras_tensor") else identifier(name)
