"""A tf_keras model inside a Keras 3 model, so that Keras 3 trains, evaluates, and exports it.

Both share their variables: a `keras.Variable` that is created from a `tf.Variable` uses it as its
value. Optimizers, metrics, and callbacks are those of Keras 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.compression.tfmot.converted_model import ConvertedModel


# Keras keys weight files by the name of the class, so it must stay.
class LegacyLayer(keras.layers.Layer):
    """Runs a tf_keras model.

    Args:
        tf_keras_model: A `tf_keras.Model` with lists of inputs and outputs.
        name: Name of the layer.
        untrained: Variables of the model that the optimizer must not change. Defaults to none.
    """

    def __init__(self, tf_keras_model: Any, name: str, untrained: Sequence[Any] = ()) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        _set_untracked(self, "tf_keras_model", tf_keras_model)
        _set_untracked(self, "tapped_model", tf_keras_model)
        trained = {id(v) for v in tf_keras_model.trainable_weights} - {id(v) for v in untrained}
        self.adopted = [
            _as_keras_variable(v, id(v) in trained) for v in _unique(tf_keras_model.weights)
        ]
        self.built = True

    def set_taps(self, tensors: Sequence[Any]) -> None:
        """Set the inner tensors of the model that a call with `taps=True` also returns."""
        model = self.tf_keras_model
        tapped_model = type(model)(model.inputs, [*model.outputs, *tensors])
        _set_untracked(self, "tapped_model", tapped_model)

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs: Any, training: bool | None = None, taps: bool = False) -> list[Any]:
        """Run the model and return a list of its outputs, and of the taps."""
        model = self.tapped_model if taps else self.tf_keras_model
        values = tree.flatten(model(_unwrap_single(inputs), training=bool(training)))
        for loss in model.losses:
            self.add_loss(loss)
        return values

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> list[keras.KerasTensor]:
        """Return the shapes and dtypes of the outputs."""
        outputs = self.tf_keras_model.outputs
        return [keras.KerasTensor(tuple(x.shape), dtype=x.dtype.name) for x in outputs]

    def get_config(self) -> dict[str, Any]:
        """Reject saving: a Keras 3 file cannot contain a tf_keras model."""
        raise NotImplementedError(
            f"'{self.name}' runs in tf_keras and cannot be saved in a Keras 3 file. Export the "
            "model with kd.export.to_tflite(model, path, 'int8'); to continue the training later, "
            "save its weights (save_weights) and the student that it was made from."
        )


@dataclass(frozen=True)
class WrappedModel:
    """A tf_keras model wrapped for Keras 3.

    Attributes:
        origin: The Keras 3 model that was converted; taps and outputs refer to it.
        converted: Its conversion.
        layer: The layer that runs the tf_keras model.
        model: The Keras 3 model around the layer, with the inputs and outputs of `origin`.
    """

    origin: keras.Model
    converted: ConvertedModel
    layer: LegacyLayer
    model: keras.Model


def wrap(
    origin: keras.Model,
    converted: ConvertedModel,
    tf_keras_model: Any,
    untrained: Sequence[Any] = (),
) -> WrappedModel:
    """Wrap the flat tf_keras model of a converted Keras 3 model, possibly with wrapped layers.

    The optimizer does not change the variables in `untrained`.
    """
    graph = converted.graph
    names = _unique_names(graph.output_names)
    layer = LegacyLayer(tf_keras_model, _free_name(f"{origin.name}_in_tf_keras", names), untrained)
    values = layer(converted.front(graph.inputs))
    named = [keras.layers.Identity(name=n)(v) for n, v in zip(names, values, strict=True)]
    outputs = tree.pack_sequence_as(_unwrap_single(graph.outputs), named)
    model = keras.Model(graph.inputs, outputs, name=origin.name)
    return WrappedModel(origin, converted, layer, model)


def _as_keras_variable(variable: Any, trainable: bool) -> keras.Variable:
    name = variable.name.split(":")[0].replace("/", "_")
    result = keras.Variable(variable, trainable=trainable, autocast=False, name=name)
    if variable.constraint is not None:
        constraint = variable.constraint
        result.constraint = getattr(keras.constraints, type(constraint).__name__)(
            **constraint.get_config()
        )
    return result


def _unique(variables: Sequence[Any]) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())


def _unwrap_single(values: Any) -> Any:
    """Return the only element of a list of one, which tf_keras requires for a single tensor."""
    return values[0] if isinstance(values, (list, tuple)) and len(values) == 1 else values


def _unique_names(names: Sequence[str]) -> list[str]:
    """Append its position to each repeated output name."""
    return [name if name not in names[:i] else f"{name}_{i}" for i, name in enumerate(names)]


def _free_name(name: str, used: Sequence[str]) -> str:
    return name if name not in used else _free_name(f"{name}_", used)


def _set_untracked(layer: keras.layers.Layer, name: str, value: Any) -> None:
    """Set an attribute that Keras must not track as part of the layer."""
    object.__setattr__(layer, name, value)
