"""The tf_keras layer that runs a weightless Keras 3 layer or keras.ops operation itself.

Imports tf_keras, so it is itself imported where it is needed only.
"""

import itertools
import weakref
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.compression.tfmot import imports as legacy_keras

tf_keras = legacy_keras.tf_keras()

# A tf_keras layer is copied through its configuration, which can hold no operation.
_runs: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
_numbers = itertools.count()


class Run:
    """One call of an operation, its tensors left open.

    Args:
        operation: A Keras 3 layer or operation.
        args: What it is called with, symbolic tensors standing for tensors.
        kwargs: The same by name.
    """

    def __init__(self, operation: Any, args: tuple, kwargs: Mapping[str, Any]) -> None:
        self.operation = operation
        self.arguments = (tuple(args), dict(kwargs))

    def __call__(self, tensors: list[tf.Tensor]) -> Any:
        """Calls the operation on tensors, in the order of the symbolic ones."""
        given = iter(tensors)
        args, kwargs = tree.map_structure(
            lambda x: next(given) if isinstance(x, keras.KerasTensor) else x, self.arguments
        )
        return self.operation(*args, **kwargs)


@tf_keras.saving.register_keras_serializable(package="keras_kd")
class AsItIs(tf_keras.layers.Layer):
    """Runs a Keras 3 operation on TensorFlow's tensors: keras.ops work on them.

    It can be copied as long as the layer that was made first lives, and not be loaded from a file.

    Args:
        number: The number of the `Run` in this process.
        name: Name of the layer.
    """

    def __init__(self, number: int, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.number = number
        # TensorFlow tracks what is assigned to a layer; a Keras 3 object is not for it to track.
        object.__setattr__(self, "run", _runs[number])
        self._supports_masking = True

    @classmethod
    def of(cls, run: Run, name: str) -> "AsItIs":
        """Makes the layer of a run."""
        number = next(_numbers)
        _runs[number] = run
        return cls(number, name, dtype="float32", autocast=False)

    def call(self, inputs: Any) -> Any:
        """Runs the operation on a tensor, or on a list of them."""
        return self.run(tf.nest.flatten(inputs))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Passes the mask on where the operation does."""
        operation = self.run.operation
        passes = isinstance(operation, keras.layers.Layer) and operation.supports_masking
        return mask if passes and not tf.nest.is_nested(mask) else None

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "number": self.number}
