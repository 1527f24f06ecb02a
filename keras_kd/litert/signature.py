"""Names, shapes and dtypes of a model's inputs and outputs, as in its .tflite file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_kd.models.graph import is_graph, require_built


@dataclass(frozen=True)
class Signature:
    """Structure and names of a model's inputs.

    Attributes:
        structure: `tf.TensorSpec`s, nested as the model's argument; the batch size is `None`.
        names: Names of the inputs, in the order of `keras.tree.flatten`.
    """

    structure: Any
    names: tuple[str, ...]

    @property
    def specs(self) -> dict[str, tf.TensorSpec]:
        """The `tf.TensorSpec` of each input, by name."""
        return dict(zip(self.names, tree.flatten(self.structure), strict=True))

    def pack(self, tensors: Mapping[str, Any]) -> Any:
        """Return named tensors in the structure that the model is called with."""
        return tree.pack_sequence_as(self.structure, [tensors[name] for name in self.names])

    def with_sizes_of(self, arrays: Mapping[str, np.ndarray]) -> "Signature":
        """Return the signature with free sizes, except the batch, fixed to those of arrays."""
        fixed = [
            tf.TensorSpec((None, *arrays[name].shape[1:]), spec.dtype, spec.name)
            for name, spec in self.specs.items()
        ]
        return Signature(tree.pack_sequence_as(self.structure, fixed), self.names)

    def random_batch(self, size: int = 8) -> Any:
        """Return a batch of made-up samples in the structure that the model is called with."""
        specs = {n: (s.shape, s.dtype.as_numpy_dtype) for n, s in self.specs.items()}
        return self.pack(random_arrays(specs, size))


def infer_signature(model: keras.Model, input_signature: Any = None) -> Signature:
    """Return the input signature of a built model.

    Raises:
        TypeError: If the model is not a `keras.Model`.
        ValueError: If the model is not built, or takes several arguments.
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


def free_sizes_remedy(inputs: Signature) -> str:
    """Return a sentence on how to fix the free sizes of inputs, empty if only the batch is free."""
    specs = {name: spec for name, spec in inputs.specs.items() if None in tuple(spec.shape)[1:]}
    if not specs:
        return ""
    shapes = [
        f"tf.TensorSpec(({', '.join(['None', *_sizes(spec)])}), '{spec.dtype.name}') for '{name}'"
        for name, spec in specs.items()
    ]
    return (
        f" Fix the free sizes of the inputs, here as LENGTH: pass input_signature="
        f"{', '.join(shapes)}, nested as the model's argument."
    )


def output_names(model: keras.Model, outputs: Any) -> tuple[str, ...]:
    """Return the names of a model's outputs, in the order of `keras.tree.flatten`.

    Dictionary keys have priority, then Keras's own names, then `output_0`, `output_1`, ...
    """
    count = len(tree.flatten(outputs))
    if isinstance(model, keras.Sequential):
        defaults = [model.layers[-1].name]
    elif is_graph(model):
        defaults = list(model.output_names)
    else:
        defaults = [f"output_{i}" for i in range(count)]
    return tuple(by_name(outputs, unique([identifier(name) for name in defaults])))


def random_arrays(
    specs: Mapping[str, tuple[Sequence[int | None], Any]], size: int
) -> dict[str, np.ndarray]:
    """Return a batch of made-up samples: floats in [0, 1), and ones for integers.

    Zeros would be padding for many models of tokens, and a mean over no step fails in int8.
    """
    rng = np.random.default_rng(0)
    arrays = {}
    for name, (shape, dtype) in specs.items():
        sizes = (size, *(length or 1 for length in shape[1:]))
        real = np.issubdtype(dtype, np.floating)
        arrays[name] = rng.random(sizes).astype(dtype) if real else np.ones(sizes, dtype)
    return arrays


def by_name(values: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the leaves of a structure by name: its own keys, or `names` in order.

    Raises:
        ValueError: If some leaves have no key and their number differs from that of the names.
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


def select_named(values: Any, names: Sequence[str], what: str = "inputs") -> dict[str, Any]:
    """Return the leaves of a structure that belong to `names`, in their order; see `by_name`.

    Raises:
        ValueError: If one is missing.
    """
    given = by_name(values, names)
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(
            f"Expected {what} {list(names)}. Received: {list(given)}. Pass a dictionary that has "
            f"{missing}."
        )
    return {name: given[name] for name in names}


def identifier(name: str) -> str:
    """Return a name with all but letters, digits and underscores replaced."""
    cleaned = re.sub(r"\W", "_", name)
    return f"_{cleaned}" if cleaned[:1].isdigit() else cleaned


def unique(names: Sequence[str]) -> list[str]:
    """Return the names; a repeated one (a layer used twice) gets its position as a suffix."""
    return [name if name not in names[:i] else f"{name}_{i}" for i, name in enumerate(names)]


def _recorded_inputs(model: keras.Model) -> Any:
    """Return the specifications that a subclassed model was built with, in its default dtype."""
    config = model.get_build_config() or {}
    if "input_shape" not in config:
        raise ValueError(
            f"Expected a model that is called with one argument (an array, a list or a dictionary "
            f"of arrays). Received: model '{model.name}', built with {config}. Pass "
            "`input_signature`, the `tf.TensorSpec`s of its inputs."
        )
    return _map_shapes(config["input_shape"], model.input_dtype)


def _map_shapes(shapes: Any, dtype: str) -> Any:
    """Convert nested shapes (each a tuple or a list itself) to nested specifications."""
    if isinstance(shapes, Mapping):
        return {key: _map_shapes(shape, dtype) for key, shape in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return tf.TensorSpec(shapes, dtype)
    return [_map_shapes(shape, dtype) for shape in shapes]


def _free_batch(spec: Any) -> tf.TensorSpec:
    return tf.TensorSpec((None, *spec.shape[1:]), spec.dtype)


def _default_name(spec: Any, position: int) -> str:
    """Return the name of an input; names that Keras numbers are not stable and are replaced."""
    name = getattr(spec, "name", None)
    return f"input_{position}" if not name or name.startswith("keras_tensor") else identifier(name)


def _sizes(spec: tf.TensorSpec) -> list[str]:
    return ["LENGTH" if size is None else str(size) for size in tuple(spec.shape)[1:]]
