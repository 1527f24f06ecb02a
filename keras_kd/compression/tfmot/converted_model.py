"""A Keras 3 model and the tf_keras model that computes the same."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from keras_kd.compression.tfmot.imports import import_tf_keras
from keras_kd.compression.tfmot.rewrites import Replacements
from keras_kd.models.graph import Graph
from keras_kd.models.inputs import call_model


@dataclass(frozen=True)
class ConvertedModel:
    """A tf_keras model that computes the same as a Keras 3 model.

    Attributes:
        model: The tf_keras model.
        graph: The opened graph of the Keras 3 model.
        replacements: The layers that were rewritten before the conversion.
        layers: The tf_keras layers of each Keras 3 layer, by path; empty for a fused layer.
        front: A Keras 3 model with a list of outputs, which runs before the tf_keras model.
    """

    model: Any
    graph: Graph
    replacements: Replacements
    layers: dict[str, list[Any]]
    front: keras.Model

    @property
    def flat(self) -> Any:
        """The tf_keras model with lists as inputs and outputs; wrappers lose other structures."""
        return type(self.model)(self.model.inputs, self.model.outputs, name=self.model.name)

    def run_front(self, x: Any) -> list[Any]:
        """Run the model in front on the part of a batch that it takes."""
        return call_model(self.front, x, training=False)

    def run(self, x: Any, model: Any = None) -> list[Any]:
        """Run the tf_keras model in inference mode and return a list of its outputs."""
        values = tree.flatten(self.run_front(x))
        inputs = values if len(values) > 1 else values[0]
        return tree.flatten((model or self.flat)(inputs, training=False))


def original_name(layer: Any) -> str:
    """Return the name of a layer before tensorflow-model-optimization wrapped it."""
    from_tfmot = type(layer).__module__.startswith("tensorflow_model_optimization")
    wrapped = from_tfmot and isinstance(layer, import_tf_keras().layers.Wrapper)
    return layer.layer.name if wrapped else layer.name
