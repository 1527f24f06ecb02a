"""From a Keras model to a .tflite file: written whole, and opened by LiteRT before it is there."""

import contextlib
import os
import re
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_kd.export import calibration as calibration_data
from keras_kd.export import signature, tracing
from keras_kd.export.interpreter import LiteRT, flex_ops, read

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")


@dataclass(frozen=True)
class TFLiteModel:
    """A .tflite file that was written, and how to run it.

    Attributes:
        path: The file.
        quantization: `"float32"`, `"float16"`, `"dynamic"` or `"int8"`.
        inputs: The names of its inputs, in the order of the Keras model's.
        outputs: The names of its outputs, in the order of the Keras model's.
    """

    path: Path
    quantization: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.path.stat().st_size

    def predict(self, x: Any) -> np.ndarray | dict[str, np.ndarray]:
        """Runs samples through the file with LiteRT.

        Args:
            x: An array (batch, ...) of any batch size; several inputs as a list or a dictionary.

        Returns:
            The output, (batch, ...); several outputs in a dictionary by name.

        Raises:
            FileNotFoundError: If the file is gone.
            ValueError: If the samples do not fit the model.
        """
        runner = LiteRT(read(self.path), f"'{self.path}'", inputs=self.inputs)
        outputs = runner.run(x)
        ordered = {name: outputs[name] for name in self.outputs}
        return ordered if len(ordered) > 1 else ordered[self.outputs[0]]


def to_tflite(
    model: keras.Model,
    path: str | Path,
    quantization: str = "float32",
    calibration: Any = None,
    *,
    calibration_samples: int = 300,
    batch_size: int | None = 1,
    allow_flex: bool = False,
    input_signature: Any = None,
) -> TFLiteModel:
    """Converts a Keras model to a .tflite file that LiteRT runs.

    The file is written whole or not at all: one that was there before is replaced only by one that
    LiteRT has opened. A model trained in mixed precision is converted in float32.

    Args:
        model: A built Functional, Sequential or subclassed `keras.Model`.
        path: Where to write, ending in `.tflite`, in a folder that exists.
        quantization: `"float32"` as trained; `"float16"` weights; `"dynamic"`: int8 weights, except
            of tensors of fewer than 1,024 values, and float activations; `"int8"`: weights and
            activations, with the model's own dtypes at its inputs and outputs. Ops that have no
            8-bit kernel stay in float32. Defaults to `"float32"`.
        calibration: Samples such as the model will see, for `"int8"`: a `tf.data.Dataset` of
            batches, or arrays. In both a tuple is `(x, ...)`, of which x is used; several inputs
            are a list or a dictionary. Other quantizations do not read it.
        calibration_samples: How many samples to take, from the beginning. Defaults to 300.
        batch_size: Number of samples of one run of the file, or `None` to leave it free, which
            costs speed. Defaults to 1.
        allow_flex: Whether ops that LiteRT lacks may be left to TensorFlow. Such a file needs an
            application with the Flex delegate: Python's LiteRT has none. Defaults to `False`.
        input_signature: What the model is called with, `tf.TensorSpec`s nested as its argument, for
            a subclassed model that takes other than floats. Defaults to what the model says.

    Returns:
        The file, as a `TFLiteModel`.

    Raises:
        TypeError: If `model` is not a `keras.Model`.
        ValueError: If an argument is wrong, or if the model cannot be converted as asked.
        OSError: If the folder does not exist or cannot be written.

    Example:
    >>> tflite = to_tflite(model, "model.tflite", "int8", calibration=train)
    >>> tflite.size, tflite.predict(images).shape
    (11104, (32, 10))
    """
    if quantization not in QUANTIZATIONS:
        raise ValueError(
            f"Expected a quantization of {QUANTIZATIONS}. Received: {quantization!r}. Choose one."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(
            f"Expected a batch_size of at least 1, or None. Received: {batch_size}. Use 1 for a "
            "model that is given one sample at a time."
        )
    inputs = signature.of_inputs(model, input_signature)
    with _whole_file(Path(path)) as write:
        if quantization == "int8":
            samples = calibration_data.samples(calibration, inputs, calibration_samples)
        function, outputs = tracing.trace(model, inputs, batch_size)
        converter = _converter(model, function, quantization, allow_flex)
        if quantization == "int8":
            tracing.refuse_loops(function)
            converter.representative_dataset = lambda: calibration_data.batches_of(
                samples, batch_size or 1
            )
        content = _convert(converter, model.name, allow_flex)
        if not flex_ops(content):
            LiteRT(content, f"the conversion of '{model.name}'")
        write(content)
    return TFLiteModel(Path(path), quantization, inputs.names, outputs)


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[Callable[[bytes], Any]]:
    """Gives a function that writes; the file appears under its name when all has gone well.

    Raises:
        ValueError: If the path does not end in `.tflite`, or is a folder.
        OSError: If the folder does not exist or cannot be written.
    """
    if path.suffix != ".tflite" or path.is_dir():
        raise ValueError(
            f"Expected the path of a file that ends in '.tflite'. Received: '{path}'. Name the "
            "file, for example 'model.tflite'."
        )
    if not path.parent.is_dir():
        raise NotADirectoryError(
            f"Expected a path in a folder that exists. Received: '{path}', whose folder "
            f"'{path.parent}' is none. Create the folder first."
        )
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        file = temporary.open("xb")
    except OSError as error:
        raise type(error)(
            error.errno,
            f"Expected a folder that can be written. Received: '{path.parent}', which cannot "
            f"({error.strerror}). Choose another folder, or ask for the right to write there",
        ) from error
    try:
        with file:
            yield file.write
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _converter(
    model: keras.Model, function: Any, quantization: str, allow_flex: bool
) -> tf.lite.TFLiteConverter:
    # The variables are handed over in a plain module: with the Keras model in its place the
    # converter writes a broken file, without either it drops the names of inputs and outputs.
    weights = tf.Module()
    weights.variables_ = [variable.value for variable in model.variables]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], weights)
    ops = tf.lite.OpsSet
    builtins = ops.TFLITE_BUILTINS_INT8 if quantization == "int8" else ops.TFLITE_BUILTINS
    converter.target_spec.supported_ops = [builtins, *([ops.SELECT_TF_OPS] if allow_flex else [])]
    if quantization != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return converter


def _convert(converter: tf.lite.TFLiteConverter, name: str, allow_flex: bool) -> bytes:
    """Runs the converter, and says in the user's words what it refuses.

    Raises:
        ValueError: If the model has ops that the file may not have.
    """
    with warnings.catch_warnings():
        # The converter itself makes the old interpreter, to calibrate.
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")
        try:
            return converter.convert()
        except Exception as error:
            refusal = _refusal(str(error), name, allow_flex)
            if refusal is None:
                raise
            raise ValueError(refusal) from error


def _refusal(message: str, name: str, allow_flex: bool) -> str | None:
    """Returns what the converter's message means, where it is one of those that users meet."""
    if "'tf.TensorListReserve' op requires element_shape to be static" in message:
        return (
            f"Expected a fixed batch size for a model with a loop over time steps (LSTM, GRU, "
            f"another RNN). Received: model '{name}' with batch_size=None. Use batch_size=1, or "
            "make these layers with `unroll=True`."
        )
    unknown = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor", message)))
    if not unknown:
        return None
    remedy = (
        "TensorFlow's Flex kernels do not have them either: use other layers."
        if allow_flex
        else "Use other layers, or pass allow_flex=True to leave them to TensorFlow's kernels, for "
        "an application that links the Flex delegate."
    )
    return (
        f"Expected ops that are built into LiteRT. Received: model '{name}' with "
        f"{', '.join(unknown)}. {remedy}"
    )
