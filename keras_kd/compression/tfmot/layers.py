"""Conversion of single Keras 3 layers to tf_keras layers that compute the same."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_kd.compression.tfmot.imports import import_tf_keras
from keras_kd.models.graph import is_graph

#: By class or registered name: a function that creates the tf_keras layer, or `"as_is"`.
Custom = Mapping[type | str, Callable[[keras.layers.Layer], Any] | str]

_SAME = """
Dense EinsumDense Embedding Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose
DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D BatchNormalization
LayerNormalization GroupNormalization UnitNormalization Rescaling Resizing CenterCrop LSTM GRU
SimpleRNN LSTMCell GRUCell SimpleRNNCell ConvLSTM1D ConvLSTM2D ConvLSTM3D MultiHeadAttention
Attention AdditiveAttention ReLU LeakyReLU PReLU ELU Softmax Activation Add Subtract Multiply
Average Maximum Minimum Concatenate Dot MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D
AveragePooling2D AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D ZeroPadding1D ZeroPadding2D
ZeroPadding3D Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D Flatten
Reshape Permute RepeatVector Masking Identity Dropout SpatialDropout1D SpatialDropout2D
SpatialDropout3D AlphaDropout GaussianDropout GaussianNoise ActivityRegularization RandomFlip
RandomRotation RandomZoom RandomTranslation RandomBrightness RandomContrast
"""
_ACTIVATIONS = """
linear relu sigmoid tanh softmax softplus softsign exponential elu selu gelu silu swish mish
"""
#: Layers that compute the same in both from the same arguments; the tests compare each.
SAME = frozenset(_SAME.split())
#: Names of the activations that are the same function in both.
ACTIVATIONS = frozenset(_ACTIVATIONS.split())
#: Arguments that tf_keras lacks, with the values that have no effect.
_NEUTRAL = {
    "antialias": (False,),
    "autocast": (True,),
    "data_format": ("channels_last", None),
    "flash_attention": (None, False),
    "pad_to_aspect_ratio": (False,),
    "quantization_config": (None,),
    "rms_scaling": (False,),
    "sliding_window": (None,),
    "use_gate": (False,),
    "value_range": ((0, 255), [0, 255]),
}
#: Arguments that do not change the result, or only together with non-neutral ones.
_IGNORED = ("dtype", "fill_mode", "fill_value", "name", "seed", "trainable", "build_config")
_ONE_TENSOR = ((keras.KerasTensor((None,)),), {})
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}


class LayerConverter:
    """Converts Keras 3 layers to tf_keras layers that compute exactly the same.

    Args:
        custom: Replacements of custom layers, as for `to_tf_keras`.
        convert_model: Converts a Functional or Sequential model inside a wrapper layer.
    """

    def __init__(self, custom: Custom | None, convert_model: Callable[[keras.Model], Any]) -> None:
        self.custom = custom or {}
        self.convert_model = convert_model
        self._wrappers = {
            "TimeDistributed": self._convert_time_distributed,
            "Bidirectional": self._convert_bidirectional,
            "RNN": self._convert_rnn,
            "StackedRNNCells": self._convert_stacked_cells,
        }

    def convert(
        self, layer: Any, path: str, arguments: tuple[tuple, dict[str, Any]] = _ONE_TENSOR
    ) -> Any:
        """Return the tf_keras layer of a Keras 3 layer or keras.ops operation, without weights.

        Raises:
            ValueError: If no tf_keras layer computes exactly the same.
        """
        converted = self._convert_custom(layer, path, arguments)
        if converted is not None:
            return converted
        if not isinstance(layer, keras.layers.Layer):
            return _wrap_operation(layer, path, arguments)
        _check_convertible(layer, path)
        kind = type(layer).__name__
        if kind in self._wrappers:
            return self._wrappers[kind](layer, path)
        if kind == "Normalization":
            return _convert_normalization(layer, path)
        other_activation = kind == "Activation" and not is_shared_activation(layer.activation)
        if kind in SAME and not other_activation:
            return _convert_from_config(layer, path)
        if layer.variables:
            raise ValueError(
                f"{_describe(layer, path)} has no counterpart in tf_keras. Replace it in the "
                f"student, or pass custom={{keras.layers.{kind}: function}} with a function that "
                "takes this layer and returns a tf_keras layer with the same weights."
            )
        return _wrap_operation(layer, path, arguments)

    def _convert_custom(self, layer: Any, path: str, arguments: tuple) -> Any:
        """Return the layer that `custom` specifies, or `None`."""
        names = [type(layer), type(layer).__name__, keras.saving.get_registered_name(type(layer))]
        make = next((self.custom[name] for name in names if name in self.custom), None)
        if make is None:
            return None
        if make == "as_is":
            return _wrap_operation(layer, path, arguments)
        converted = make(layer)
        if not isinstance(converted, import_tf_keras().layers.Layer):
            raise TypeError(
                f"custom[{type(layer).__name__}] must return a tf_keras layer. Received: "
                f"{converted!r} for the layer '{path}'"
            )
        converted._name = path
        return converted

    def _convert_time_distributed(self, layer: Any, path: str) -> Any:
        inner = self._convert_inner(layer.layer)
        return import_tf_keras().layers.TimeDistributed(inner, name=path)

    def _convert_bidirectional(self, layer: Any, path: str) -> Any:
        return import_tf_keras().layers.Bidirectional(
            self._convert_inner(layer.forward_layer),
            merge_mode=layer.merge_mode,
            backward_layer=self._convert_inner(layer.backward_layer),
            name=path,
        )

    def _convert_rnn(self, layer: Any, path: str) -> Any:
        return _convert_from_config(layer, path, cell=self._convert_inner(layer.cell))

    def _convert_stacked_cells(self, layer: Any, path: str) -> Any:
        cells = [self._convert_inner(cell) for cell in layer.cells]
        return import_tf_keras().layers.StackedRNNCells(cells, name=path)

    def _convert_inner(self, layer: Any) -> Any:
        """Convert a layer or model inside another layer."""
        return self.convert_model(layer) if is_graph(layer) else self.convert(layer, layer.name)


def is_shared_activation(activation: Any) -> bool:
    """Return whether an activation of Keras 3 has the same name and function in tf_keras."""
    name = getattr(activation, "__name__", None)
    return name in ACTIVATIONS and keras.activations.get(name) is activation


def _wrap_operation(operation: Any, path: str, arguments: tuple[tuple, dict[str, Any]]) -> Any:
    """Return a tf_keras layer that runs a weightless Keras 3 layer or operation."""
    from keras_kd.compression.tfmot.keras3_op_layer import Keras3OpLayer, OpCall

    if isinstance(operation, keras.layers.Layer) and operation.variables:
        raise ValueError(
            f"{_describe(operation, path)} cannot run in tf_keras unchanged, because it has "
            "weights or a random state. Pass a function that returns a tf_keras layer instead of "
            "'as_is'."
        )
    return Keras3OpLayer.from_call(OpCall(operation, *arguments), name=path)


def _check_convertible(layer: keras.layers.Layer, path: str) -> None:
    """Reject layers that are not part of Keras, and weights other than float32."""
    if isinstance(layer, keras.Model):
        raise ValueError(
            f"{_describe(layer, path)} is a subclassed model, so its layers cannot be converted "
            "one by one. Build it with the functional API."
        )
    if not type(layer).__module__.startswith("keras."):
        raise ValueError(
            f"{_describe(layer, path)} is a custom layer. Pass "
            f"custom={{{type(layer).__name__}: function}} with a function that takes this layer "
            "and returns a tf_keras layer with the same weights, or 'as_is' if it has no weights."
        )
    wrong = sorted({v.dtype for v in layer.weights if "float" in v.dtype} - {"float32"})
    if wrong or layer.dtype_policy.quantization_mode is not None:
        raise ValueError(
            f"{_describe(layer, path)} has weights of {wrong or layer.dtype_policy.name}; "
            "compression requires float32 (mixed precision works). Load the weights into the same "
            "model built in float32."
        )


def _convert_from_config(layer: keras.layers.Layer, path: str, **more: Any) -> Any:
    """Return the tf_keras layer of the same class name, from the arguments that both have."""
    kind = type(layer).__name__
    cls = getattr(import_tf_keras().layers, kind)
    known = _parameters(cls)
    arguments = {"name": path, "trainable": layer.trainable, "dtype": "float32", **more}
    if isinstance(layer, keras.layers.RNN):
        # tf_keras accepts it, although it is not in the signature.
        arguments["zero_output_for_mask"] = layer.zero_output_for_mask
    for key, value in layer.get_config().items():
        new = _RENAMED.get(kind, {}).get(key, key)
        if new in arguments or new in _IGNORED or new.endswith("_initializer"):
            continue
        if new in known:
            arguments[new] = _convert_argument(layer, path, new, value)
        elif value not in _NEUTRAL.get(new, ()):
            hint = "" if layer.variables else f", or pass custom={{keras.layers.{kind}: 'as_is'}}"
            raise ValueError(
                f"{_describe(layer, path)} has {key}={value!r}, which tf_keras does not have. Use "
                f"the layer without it{hint}."
            )
    return cls(**arguments)


def _convert_argument(layer: keras.layers.Layer, path: str, key: str, value: Any) -> Any:
    if key.endswith("activation"):
        return _convert_activation(layer, path, key)
    if key.endswith(("_regularizer", "_constraint")):
        return _convert_regularizer_or_constraint(layer, path, key, value)
    return value


def _convert_activation(layer: keras.layers.Layer, path: str, key: str) -> str:
    function = getattr(layer, key)  # An RNN delegates to its cell, which holds the activations.
    if not is_shared_activation(function):
        name = getattr(function, "__name__", type(function).__name__)
        raise ValueError(
            f"{_describe(layer, path)} has {key}={name!r}, which tf_keras does not have or "
            f"computes differently. Use one of {sorted(ACTIVATIONS)} inside it, or a separate "
            "keras.layers.Activation after it."
        )
    return function.__name__


def _convert_regularizer_or_constraint(
    layer: keras.layers.Layer, path: str, key: str, value: Any
) -> Any:
    """Convert a serialized regularizer or constraint of Keras, which is the same in both."""
    if value is None:
        return None
    tf_keras = import_tf_keras()
    module = tf_keras.regularizers if key.endswith("_regularizer") else tf_keras.constraints
    built_in = isinstance(value, dict) and str(value.get("module")).startswith("keras.")
    cls = getattr(module, value["class_name"], None) if built_in else None
    if cls is None:
        raise ValueError(
            f"{_describe(layer, path)} has {key}={value!r}, which is not part of Keras. Remove it "
            "from the student."
        )
    return cls(**value["config"])


def _parameters(cls: type) -> set[str]:
    """Return the names of the arguments that a tf_keras layer accepts."""
    found = set()
    for parent in cls.__mro__:
        if "__init__" in vars(parent):
            parameters = inspect.signature(parent.__init__).parameters
            found |= set(parameters)
            if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
                break
    return found


def _convert_normalization(layer: keras.layers.Layer, path: str) -> Any:
    """Convert an adapted `Normalization`; its mean and variance become constants."""
    config = layer.get_config()
    mean, variance = (np.asarray(x) for x in (layer.mean, layer.variance))
    kept = [mean.shape[i] for i in layer._keep_axis] if layer.axis else []
    return import_tf_keras().layers.Normalization(
        axis=config["axis"],
        mean=mean.reshape(kept) if kept else mean.item(),
        variance=variance.reshape(kept) if kept else variance.item(),
        invert=config["invert"],
        name=path,
        dtype="float32",
    )


def _describe(layer: Any, path: str) -> str:
    return f"The layer '{path}' ({type(layer).__name__})"
