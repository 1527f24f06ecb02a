"""A Keras 3 layer as the tf_keras layer that computes the same, or a refusal that says why not."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_kd.compression.tfmot import imports as legacy_keras
from keras_kd.models.graph import is_graph

#: By class or registered name: what makes the tf_keras layer of a layer, or `"as_is"`.
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
#: Layers computed alike by both, from the same arguments: held against each other in the tests.
SAME = frozenset(_SAME.split())
#: Activations that are the same function in both, by name.
ACTIVATIONS = frozenset(_ACTIVATIONS.split())
#: Arguments that tf_keras lacks, with the values at which they change nothing.
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
#: Arguments without a meaning for what is computed, or for a layer whose neutral ones are neutral.
_IGNORED = ("dtype", "fill_mode", "fill_value", "name", "seed", "trainable", "build_config")
_ONE_TENSOR = ((keras.KerasTensor((None,)),), {})
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}


def translated(
    layer: Any,
    path: str,
    custom: Custom | None = None,
    arguments: tuple[tuple, dict[str, Any]] = _ONE_TENSOR,
) -> Any:
    """The tf_keras layer that computes what a Keras 3 layer (or keras.ops operation) computes.

    Args:
        layer: A layer or operation of a Keras 3 model.
        path: Its path in the model: the name of the new layer, and its name in messages.
        custom: What to make of layers that are none of Keras's own.
        arguments: What it is called with, positional and by name: for an operation that runs as it
            is. Defaults to a single tensor.

    Returns:
        A tf_keras layer without weights yet.

    Raises:
        ValueError: When there is none that computes exactly the same.
    """
    made = _custom(layer, path, custom or {}, arguments)
    if made is not None:
        return made
    if not isinstance(layer, keras.layers.Layer):
        return _as_it_is(layer, path, arguments)
    _check_own(layer, path)
    kind = type(layer).__name__
    if kind == "Normalization":
        return _normalization(layer, path)
    if kind in _WRAPPERS:
        return _WRAPPERS[kind](layer, path, custom)
    if kind in SAME and not (kind == "Activation" and not understood(layer.activation)):
        return _from_config(layer, path)
    if layer.variables:
        raise ValueError(
            f"{_called(layer, path)} has no counterpart in tf_keras. Replace it in the student, or "
            f"say what stands for it: custom={{keras.layers.{kind}: function}}, a function that "
            "takes this layer and returns a tf_keras layer with the same weights."
        )
    return _as_it_is(layer, path, arguments)


def _as_it_is(operation: Any, path: str, arguments: tuple[tuple, dict[str, Any]]) -> Any:
    """A tf_keras layer that runs a weightless Keras 3 layer or operation itself."""
    from keras_kd.compression.tfmot.keras3_op_layer import AsItIs, Run

    if isinstance(operation, keras.layers.Layer) and operation.variables:
        raise ValueError(
            f"{_called(operation, path)} cannot run as it is, since it has weights or a random "
            "state. Give a function that returns a tf_keras layer instead of 'as_is'."
        )
    return AsItIs.of(Run(operation, *arguments), name=path)


def understood(activation: Any) -> bool:
    """Whether tf_keras has an activation of Keras 3 under the same name."""
    name = getattr(activation, "__name__", None)
    return name in ACTIVATIONS and keras.activations.get(name) is activation


def _custom(layer: Any, path: str, custom: Custom, arguments: tuple) -> Any:
    """What the user's mapping makes of a layer, or `None` where it says nothing."""
    names = [type(layer), type(layer).__name__, keras.saving.get_registered_name(type(layer))]
    maker = next((custom[name] for name in names if name in custom), None)
    if maker is None:
        return None
    if maker == "as_is":
        return _as_it_is(layer, path, arguments)
    made = maker(layer)
    if not isinstance(made, legacy_keras.tf_keras().layers.Layer):
        raise TypeError(
            f"custom[{type(layer).__name__}] must return a tf_keras layer. Received: {made!r} for "
            f"the layer '{path}'"
        )
    made._name = path
    return made


def _check_own(layer: keras.layers.Layer, path: str) -> None:
    """Refuses what is none of Keras's own layers, and weights that are no float32."""
    if isinstance(layer, keras.Model):
        raise ValueError(
            f"{_called(layer, path)} is a subclassed model or is given a mask, so its layers "
            "cannot be translated one by one. Build it with the functional API, without a mask."
        )
    if not type(layer).__module__.startswith("keras."):
        raise ValueError(
            f"{_called(layer, path)} is a custom layer. Say what stands for it: "
            f"custom={{{type(layer).__name__}: function}}, where the function takes this layer and "
            "returns a tf_keras layer with the same weights, or 'as_is' if it has no weights."
        )
    wrong = sorted({v.dtype for v in layer.weights if "float" in v.dtype} - {"float32"})
    if wrong or layer.dtype_policy.quantization_mode is not None:
        raise ValueError(
            f"{_called(layer, path)} has weights of {wrong or layer.dtype_policy.name}; "
            "compression takes float32 (mixed precision is fine). Load the weights into the same "
            "model made in float32."
        )


def _from_config(layer: keras.layers.Layer, path: str, **more: Any) -> Any:
    """The tf_keras layer of the same name from the arguments that both have."""
    kind = type(layer).__name__
    cls = getattr(legacy_keras.tf_keras().layers, kind)
    known = _parameters(cls)
    arguments = {"name": path, "trainable": layer.trainable, "dtype": "float32", **more}
    if isinstance(layer, keras.layers.RNN):
        # Taken, though no argument of its own.
        arguments["zero_output_for_mask"] = layer.zero_output_for_mask
    for key, value in layer.get_config().items():
        new = _RENAMED.get(kind, {}).get(key, key)
        if new in arguments or new.endswith("_initializer") or new == "bias_initializer":
            continue
        if new in known and new not in _IGNORED:
            arguments[new] = _argument(layer, path, new, value)
        elif new not in _IGNORED and value not in _NEUTRAL.get(new, ()):
            raise ValueError(
                f"{_called(layer, path)} has {key}={value!r}, which tf_keras does not have. Make "
                f"the layer without it{_as_is(layer)}."
            )
    return cls(**arguments)


def _argument(layer: keras.layers.Layer, path: str, key: str, value: Any) -> Any:
    """An argument in tf_keras's terms."""
    if key.endswith("activation"):
        return _activation(layer, path, key)
    if key.endswith(("_regularizer", "_constraint")):
        return _serialized(layer, path, key, value)
    return value


def _activation(layer: keras.layers.Layer, path: str, key: str) -> str:
    # An RNN keeps its activations in its cell.
    function = getattr(layer, key)
    if not understood(function):
        name = getattr(function, "__name__", type(function).__name__)
        raise ValueError(
            f"{_called(layer, path)} has {key}={name!r}, which tf_keras does not have or computes "
            f"otherwise. Use one of {sorted(ACTIVATIONS)} inside it, or a "
            "keras.layers.Activation of its own behind it."
        )
    return function.__name__


def _serialized(layer: keras.layers.Layer, path: str, key: str, value: Any) -> Any:
    """A regularizer or constraint; those of Keras's own are the same in both."""
    if value is None:
        return None
    module = legacy_keras.tf_keras()
    module = module.regularizers if key.endswith("_regularizer") else module.constraints
    own = isinstance(value, dict) and str(value.get("module")).startswith("keras.")
    cls = getattr(module, value["class_name"], None) if own else None
    if cls is None:
        raise ValueError(
            f"{_called(layer, path)} has {key}={value!r}, which is none of Keras's own. Remove it "
            "from the student."
        )
    return cls(**value["config"])


def _parameters(cls: type) -> set[str]:
    """Names of the arguments that a tf_keras layer takes."""
    found = set()
    for parent in cls.__mro__:
        if "__init__" in vars(parent):
            parameters = inspect.signature(parent.__init__).parameters
            found |= set(parameters)
            if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
                break
    return found


def _normalization(layer: keras.layers.Layer, path: str) -> Any:
    """Its mean and variance become constants, as they are once the layer has been adapted."""
    config = layer.get_config()
    mean, variance = (np.asarray(x) for x in (layer.mean, layer.variance))
    kept = [mean.shape[i] for i in layer._keep_axis] if layer.axis else []
    return legacy_keras.tf_keras().layers.Normalization(
        axis=config["axis"],
        mean=mean.reshape(kept) if kept else mean.item(),
        variance=variance.reshape(kept) if kept else variance.item(),
        invert=config["invert"],
        name=path,
        dtype="float32",
    )


def _time_distributed(layer: Any, path: str, custom: Custom | None) -> Any:
    inner = _inner(layer.layer, custom)
    return legacy_keras.tf_keras().layers.TimeDistributed(inner, name=path)


def _bidirectional(layer: Any, path: str, custom: Custom | None) -> Any:
    return legacy_keras.tf_keras().layers.Bidirectional(
        _inner(layer.forward_layer, custom),
        merge_mode=layer.merge_mode,
        backward_layer=_inner(layer.backward_layer, custom),
        name=path,
    )


def _rnn(layer: Any, path: str, custom: Custom | None) -> Any:
    return _from_config(layer, path, cell=_inner(layer.cell, custom))


def _stacked(layer: Any, path: str, custom: Custom | None) -> Any:
    cells = [_inner(cell, custom) for cell in layer.cells]
    return legacy_keras.tf_keras().layers.StackedRNNCells(cells, name=path)


def _inner(layer: Any, custom: Custom | None) -> Any:
    """A layer inside another one."""
    if is_graph(layer):
        from keras_kd.compression.tfmot.convert import to_tf_keras

        return to_tf_keras(layer, custom, fuse_relu=False)
    return translated(layer, layer.name, custom)


_WRAPPERS = {
    "TimeDistributed": _time_distributed,
    "Bidirectional": _bidirectional,
    "RNN": _rnn,
    "StackedRNNCells": _stacked,
}


def _as_is(layer: keras.layers.Layer) -> str:
    kind = type(layer).__name__
    return "" if layer.variables else f", or pass custom={{keras.layers.{kind}: 'as_is'}}"


def _called(layer: Any, path: str) -> str:
    return f"The layer '{path}' ({type(layer).__name__})"
