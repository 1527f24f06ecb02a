"""The inputs of a model, and the part of a batch that it takes: a dict is matched by key.

Keras sorts the keys of a dict and gives a model the first ones, with no more than a warning, so
every batch passes through `select_inputs` before it reaches a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from keras_kd.models.graph import built_inputs, input_structure, is_functional

#: The beginning of the names that Keras gives to inputs without one.
_UNNAMED = "keras_tensor"


@dataclass(frozen=True)
class ModelInputs:
    """The inputs of a model.

    Attributes:
        structure: Objects with a `shape` and, outside dicts, a `name`, nested as the model's
            argument.
        declared: Whether the model takes exactly these. A subclassed model may read fewer of the
            inputs that it was built with, so a dict reaches its `call` unchanged.
    """

    structure: Any
    declared: bool = True

    @property
    def shapes(self) -> list[tuple]:
        """Shapes of the inputs as a flat list, batch first."""
        return [tuple(part.shape) for part in tree.flatten(self.structure)]

    @property
    def named_shapes(self) -> dict[str, tuple] | None:
        """Shape of each input by its key in a dict batch, `outer/inner` in a nested one.

        It is `None` if a dict cannot be matched.
        """
        if isinstance(self.structure, dict):
            paths = tree.flatten_with_path(self.structure)
            return {"/".join(map(str, path)): tuple(part.shape) for path, part in paths}
        keys = _keys(self.structure)
        return None if keys is None else {key: tuple(part.shape) for key, part in keys.items()}

    def parts(self, x: Any, owner: str) -> list[Any] | None:
        """Return the parts of a batch that the model takes, in the order of `shapes`.

        Returns:
            A flat list; `None` if only the `call` of the model decides what it reads.

        Raises:
            ValueError: If a key is missing, or the inputs have no names.
        """
        if isinstance(x, dict):
            if not self.declared and not set(self.named_shapes or [None]) <= set(x):
                return None
            x = self.select(x, owner)
        return tree.flatten(x)

    def select(self, x: dict[str, Any], owner: str) -> Any:
        """Return the parts of a dict batch that the model takes, in the model's structure.

        Raises:
            ValueError: If a key is missing, or the inputs have no names.
        """
        return _select(self.structure, x, owner)


def model_inputs(model: keras.Model) -> ModelInputs | None:
    """Return the inputs of a built model, or `None` if they are not known."""
    source = model
    while isinstance(source, keras.Sequential) and source.built and not is_functional(source):
        source = source.layers[0]
    structure = input_structure(source)
    return None if structure is None else ModelInputs(structure, is_functional(source))


def select_inputs(model: keras.Model, x: Any) -> Any:
    """Return the part of a batch that a model takes.

    A model with dict inputs takes the entries with its keys, and one with a single input or a list
    takes the entries with the names of its `keras.Input`s. Other entries are ignored. Anything but
    a dict, and the batch of a subclassed model, is returned unchanged.

    Args:
        model: A built model.
        x: A batch, or its specification.

    Raises:
        ValueError: If a key is missing, or the inputs have no names.
    """
    if not isinstance(x, dict):
        return x
    inputs = model_inputs(model)
    if inputs is None or not inputs.declared:
        return x
    return inputs.select(x, f"'{model.name}'")


def call_model(model: keras.Model, x: Any, **arguments: Any) -> Any:
    """Call a model with the part of a batch that it takes.

    Args:
        model: A built model.
        x: A batch.
        **arguments: Other arguments of the call, such as `training`.

    Raises:
        ValueError: If a key is missing in a dict batch.
    """
    try:
        return model(select_inputs(model, x), **arguments)
    except KeyError as error:
        # Keras raises a copy of the error, with the call's arguments in its message.
        missing = [key for key in (error.__context__ or error).args if isinstance(key, str)]
        if not isinstance(x, dict) or not missing or missing[0] in x:
            raise
        raise ValueError(_missing_message(f"'{model.name}'", missing[:1], x)) from error


def predict_batch(model: keras.Model, x: Any) -> Any:
    """Return the outputs of a model in inference, as NumPy arrays.

    Args:
        model: A built model.
        x: A batch of what its `call` takes.

    Raises:
        ValueError: If a key is missing in a dict batch.
    """
    # A KerasHub task applies its preprocessor in methods of its own class.
    return keras.Model.predict_on_batch(model, select_inputs(model, x))


def matched_by_key(several: Sequence[ModelInputs]) -> bool:
    """Return whether models that get the same batch each take their part of it by key.

    So it is where all have names, and one takes a dict or they have a name in common. Others, such
    as two models with one input each, take the same arrays in order.
    """
    named = [inputs.named_shapes for inputs in several]
    if None in named:
        return False
    takes_dict = any(isinstance(inputs.structure, dict) for inputs in several)
    return takes_dict or bool(set.intersection(*map(set, named)))


def merge_inputs(models: Sequence[keras.Model]) -> Any:
    """Return symbolic inputs for several models that get the same batch.

    Returns:
        The inputs of the first model; a dict of all inputs if the models take different ones.
    """
    several = [model_inputs(model) for model in models]
    if None in several:
        return built_inputs(models[0])
    named = [_keys(inputs.structure) for inputs in several]
    if not matched_by_key(several) or len(set(map(frozenset, named))) == 1:
        return tree.map_structure(_symbolic, several[0].structure)
    every = {key: part for keys in named for key, part in keys.items()}
    return {
        key: tree.map_structure(_symbolic, part) if isinstance(part, dict) else _symbolic(part, key)
        for key, part in every.items()
    }


def _symbolic(part: keras.KerasTensor, name: str | None = None) -> keras.KerasTensor:
    return keras.Input(batch_shape=part.shape, dtype=part.dtype, name=name or part.name)


def _keys(structure: Any) -> dict[str, Any] | None:
    """Return the parts of a structure of inputs by key, or `None` if they have no names."""
    if isinstance(structure, dict):
        return structure
    parts = structure if isinstance(structure, (list, tuple)) else [structure]
    names = [getattr(part, "name", None) or _UNNAMED for part in parts]
    if any(name.startswith(_UNNAMED) for name in names):
        return None
    return dict(zip(names, parts, strict=True))


def _select(structure: Any, x: dict[str, Any], owner: str) -> Any:
    wanted = _keys(structure)
    if wanted is None:
        raise ValueError(
            f"{owner} has inputs without names, so it cannot take its part of a batch with the "
            f"keys {list(x)}. Name them, keras.Input(..., name='KEY'), or pass batches of arrays."
        )
    missing = [key for key in wanted if key not in x]
    if missing:
        raise ValueError(_missing_message(owner, missing, x, list(wanted)))
    chosen = {key: _select_inside(part, x[key], owner) for key, part in wanted.items()}
    if isinstance(structure, dict):
        return chosen
    return list(chosen.values()) if isinstance(structure, (list, tuple)) else chosen.popitem()[1]


def _select_inside(part: Any, value: Any, owner: str) -> Any:
    """Return the value of one key, itself a dict in a model with nested inputs."""
    nested = isinstance(part, dict) and isinstance(value, dict)
    return _select(part, value, owner) if nested else value


def _missing_message(
    owner: str, missing: Sequence[str], x: dict[str, Any], wanted: Sequence[str] | None = None
) -> str:
    takes = "" if wanted is None else f" takes the inputs {list(wanted)} and"
    return (
        f"{owner}{takes} needs {list(missing)}. Received: a batch with the keys {list(x)}. Add "
        "what is missing, or rename the keys of the batch to those of the model."
    )
