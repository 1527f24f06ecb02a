"""New layers of a rewritten model, with the weights that they get once they are built."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_kd.compression.qat.folding import fold
from keras_kd.models.copy import copy_layer
from keras_kd.models.graph import Call, first_line
from keras_kd.models.tap_names import plain_name


@dataclass
class Emitter:
    """Makes the layers that compute what the layers of a student do.

    A layer that is called several times is made once.

    Args:
        norms: The normalizations to fold, by the path of the layer before them.

    Attributes:
        origins: The path of the student's layer that each new layer was made from, by name.
    """

    norms: Mapping[str, keras.layers.BatchNormalization] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    _layers: dict[tuple[str, str], Any] = field(default_factory=dict)
    _values: list[tuple[keras.layers.Layer, Sequence[np.ndarray]]] = field(default_factory=list)

    def layer(
        self,
        path: str,
        suffix: str,
        make: Callable[..., Any],
        weights: Sequence[np.ndarray] = (),
        **arguments: Any,
    ) -> Any:
        """Return a layer, which is made at the first call.

        Args:
            path: The path of the student's layer.
            suffix: What the layer is within it, `""` for the one that returns its output.
            make: The class of the layer, or a function that makes it.
            weights: Its weights.
            **arguments: Arguments of `make` besides `name`.
        """
        key = (path, suffix)
        if key not in self._layers:
            name = self._unused_name("_".join(filter(None, [plain_name(path), suffix])))
            layer = make(name=name, **arguments)
            self._layers[key], self.origins[name] = layer, path
            if len(weights):
                self._values.append((layer, weights))
        return self._layers[key]

    def copy(self, call: Call, suffix: str = "", **changes: Any) -> Any:
        """Return a copy of the layer or operation of a call, in float32.

        Args:
            call: The call.
            suffix: As for `layer`. Defaults to `""`.
            **changes: Entries of its configuration to replace.
        """
        if not isinstance(call.layer, keras.layers.Layer):  # Holds the arguments of one call.
            name = self._unused_name(plain_name(call.path))
            self.origins[name] = call.path
            return copy_layer(call.layer, name=name)
        make = functools.partial(copy_layer, call.layer, dtype="float32", **changes)
        try:
            return self.layer(call.path, suffix, make, self.weights(call))
        except Exception as error:  # `from_config` of a custom layer raises any type.
            raise ValueError(
                f"The layer '{call.path}' ({type(call.layer).__name__}) cannot be copied: its "
                "class must have a `get_config` with the arguments of its constructor. The cause: "
                f"{first_line(error)}"
            ) from error

    def weights(self, call: Call) -> list[np.ndarray]:
        """Return the weights of the layer of a call, with a normalization folded into them."""
        weights = [np.asarray(weight) for weight in call.layer.weights]
        norm = self.norms.get(call.path)
        return weights if norm is None else fold(call.layer, weights, norm)

    def set_weights(self) -> None:
        """Give all layers their weights."""
        for layer, weights in self._values:
            layer.set_weights(weights)

    def _unused_name(self, name: str) -> str:
        """Return a name of a layer that no other one has."""
        unused, number = name, 0
        while unused in self.origins:
            number += 1
            unused = f"{name}_{number}"
        return unused
