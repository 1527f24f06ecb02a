"""A tf_keras layer that runs a weightless Keras 3 layer or keras.ops operation.

Importing this module imports tf_keras, so it is only imported inside functions.
"""

import itertools
import weakref
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.compression.tfmot.imports import import_tf_keras

tf_keras = import_tf_keras()

# tf_keras copies a layer through its configuration, which cannot contain an operation.
_op_calls: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
_numbers = itertools.count()


class OpCall:
    """A call of a Keras 3 layer or operation with symbolic tensors as placeholders."""

    def __init__(self, operation: Any, args: tuple, kwargs: Mapping[str, Any]) -> None:
        self.operation = operation
        self.arguments = (tuple(args), dict(kwargs))

    def __call__(self, tensors: list[tf.Tensor]) -> Any:
        """Call the operation on tensors, in the order of the placeholders."""
        remaining = iter(tensors)
        args, kwargs = tree.map_structure(
            lambda x: next(remaining) if isinstance(x, keras.KerasTensor) else x, self.arguments
        )
        return self.operation(*args, **kwargs)


@tf_keras.saving.register_keras_serializable(package="keras_kd")
class Keras3OpLayer(tf_keras.layers.Layer):
    """Runs a Keras 3 operation on TensorFlow tensors, which keras.ops accepts.

    The layer can be copied while the original exists. It cannot be loaded from a file, because its
    configuration contains only the number of its `OpCall` in this process.
    """

    def __init__(self, number: int, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.number = number
        # TensorFlow tracks the attributes of a layer and cannot track a Keras 3 object.
        object.__setattr__(self, "op_call", _op_calls[number])
        self._supports_masking = True

    @classmethod
    def from_call(cls, op_call: OpCall, name: str) -> "Keras3OpLayer":
        """Create the layer of a call."""
        number = next(_numbers)
        _op_calls[number] = op_call
        return cls(number, name, dtype="float32", autocast=False)

    def call(self, inputs: Any) -> Any:
        """Run the operation on a tensor or a list of tensors."""
        return self.op_call(tf.nest.flatten(inputs))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Pass the mask on if the operation supports masking."""
        operation = self.op_call.operation
        passes = isinstance(operation, keras.layers.Layer) and operation.supports_masking
        return mask if passes and not tf.nest.is_nested(mask) else None

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "number": self.number}
