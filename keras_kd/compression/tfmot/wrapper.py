"""A tf_keras model inside a Keras 3 model, so that Keras 3 trains, evaluates and exports it.

The Keras 3 model shares the variables of the tf_keras model: a `keras.Variable` made of a
`tf.Variable` is that variable. Optimizers, metrics and callbacks are therefore Keras 3's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from keras_kd.compression.tfmot.convert import Bridged
from keras_kd.models.graph import Graph


class LegacyLayer(keras.layers.Layer):
    """Runs a tf_keras model.

    Args:
        legacy: A `tf_keras.Model` with lists of inputs and outputs.
        name: Name of the layer.
        untrained: Variables of it that the optimizer shall leave alone. Defaults to none.
    """

    def __init__(self, legacy: Any, name: str, untrained: Sequence[Any] = ()) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        _hide(self, "legacy", legacy)
        _hide(self, "runner", legacy)
        trained = {id(v) for v in legacy.trainable_weights} - {id(v) for v in untrained}
        self.adopted = [_adopted(v, id(v) in trained) for v in _unique(legacy.weights)]
        self.built = True

    def show(self, tensors: Sequence[Any]) -> None:
        """Adds inner tensors of the tf_keras model to what a call with `taps=True` gives."""
        model = type(self.legacy)(self.legacy.inputs, [*self.legacy.outputs, *tensors])
        _hide(self, "runner", model)

    def call(self, inputs: Any, training: bool | None = None, taps: bool = False) -> list[Any]:
        """Runs the model: a list of its outputs, and of the tensors to show."""
        model = self.runner if taps else self.legacy
        values = tree.flatten(model(_alone(inputs), training=bool(training)))
        for loss in model.losses:
            self.add_loss(loss)
        return values

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> list[keras.KerasTensor]:
        """Shapes and dtypes of the outputs."""
        return [keras.KerasTensor(tuple(x.shape), dtype=x.dtype.name) for x in self.legacy.outputs]

    def get_config(self) -> dict[str, Any]:
        """Refuses: a file of Keras 3 holds no tf_keras model."""
        raise NotImplementedError(
            f"'{self.name}' runs in tf_keras and cannot be saved in a Keras 3 file. Export the "
            "model with kd.export.to_tflite(model, path, 'int8'); to train on later, save its "
            "weights (save_weights) and the student that it was made of."
        )


@dataclass(frozen=True)
class Shell:
    """A tf_keras model made ready for Keras 3.

    Attributes:
        origin: The Keras 3 model that it came from, whose taps and outputs are meant.
        bridged: What became of each of its layers.
        layer: The layer that runs the tf_keras model.
        model: The Keras 3 model of all that, with the inputs and outputs of the origin.
    """

    origin: keras.Model
    bridged: Bridged
    layer: LegacyLayer
    model: keras.Model


def encase(
    origin: keras.Model, bridged: Bridged, legacy: Any, untrained: Sequence[Any] = ()
) -> Shell:
    """Puts a tf_keras model into a Keras 3 model.

    Args:
        origin: The Keras 3 model that it came from.
        bridged: How it came from it.
        legacy: The tf_keras model, of lists of inputs and outputs; perhaps wrapped since.
        untrained: Variables that the optimizer shall leave alone. Defaults to none.

    Returns:
        The `Shell`.
    """
    graph = bridged.graph
    names = _distinct(graph.output_names)
    layer = LegacyLayer(legacy, _free(f"{origin.name}_in_tf_keras", names), untrained)
    values = layer(bridged.front(graph.inputs))
    named = [keras.layers.Identity(name=n)(v) for n, v in zip(names, values, strict=True)]
    outputs = tree.pack_sequence_as(_unwrapped(graph), named)
    return Shell(origin, bridged, layer, keras.Model(graph.inputs, outputs, name=origin.name))


def _adopted(variable: Any, trainable: bool) -> keras.Variable:
    name = variable.name.split(":")[0].replace("/", "_")
    adopted = keras.Variable(variable, trainable=trainable, autocast=False, name=name)
    if variable.constraint is not None:
        constraint = variable.constraint
        adopted.constraint = getattr(keras.constraints, type(constraint).__name__)(
            **constraint.get_config()
        )
    return adopted


def _unique(variables: Sequence[Any]) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())


def _alone(values: Any) -> Any:
    """A list of one as its only member: tf_keras asks for a tensor there."""
    return values[0] if isinstance(values, (list, tuple)) and len(values) == 1 else values


def _unwrapped(graph: Graph) -> Any:
    return _alone(graph.outputs)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of outputs, each repeated one with its position behind it."""
    return [name if name not in names[:i] else f"{name}_{i}" for i, name in enumerate(names)]


def _free(name: str, taken: Sequence[str]) -> str:
    return name if name not in taken else _free(f"{name}_", taken)


def _hide(layer: keras.layers.Layer, name: str, value: Any) -> None:
    """Sets an attribute past Keras, which would track a model as a part of the layer."""
    object.__setattr__(layer, name, value)
