"""Convert a Keras model to a .tflite file that is verified before it is written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.export import calibration as calibration_data
from keras_kd.export.conversion import CALIBRATED
from keras_kd.export.evaluation import ScoreOptions
from keras_kd.export.metadata import Description
from keras_kd.export.mixed_precision import PartlyQuantized
from keras_kd.export.model_conversion import convert_model
from keras_kd.export.options import Options
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.export.verification import Verification
from keras_kd.files import atomic_write, require_writable
from keras_kd.litert.signature import Signature, infer_signature


def to_tflite(
    model: keras.Model,
    path: str | Path,
    quantization: str = "float32",
    calibration: Any = None,
    *,
    calibration_samples: int = 300,
    verification: Any = None,
    verification_samples: int = 1000,
    max_drop: float = 2.0,
    tolerance: float | None = None,
    batch_size: int | None = 1,
    io_dtype: str = "float32",
    per_channel: bool = True,
    allow_flex: bool = False,
    input_signature: Any = None,
    signatures: Mapping[str, str | None] | None = None,
    normalization: Any = None,
    raw_inputs: bool = False,
    answer: str | Mapping[str, str] | None = None,
    labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    outputs: str | Mapping[str, str] = "auto",
    ignore_class: int | None = None,
    keep_float: str | Sequence[str] | None = None,
) -> TFLiteModel:
    """Convert a Keras model to a .tflite file for LiteRT and verify it.

    The file and the model both run on `verification` (by default on `calibration`). A file that
    loses more than `max_drop` points of accuracy or, without labels and for a regression, differs
    by more than `tolerance` in a column of an output, is rejected: it is saved as
    `NAME.rejected.tflite`, and an existing file at `path` is kept. Without samples, float32 and
    float16 files are compared on random inputs; files of other formats are only run.

    The file is written completely or not at all. LiteRT, and the conversion of uncommon ops, run in
    child processes, because they can crash. A mixed-precision model is converted in float32. For
    int8 and int16x8, recurrent layers are unrolled; if the number of their steps is free, the file
    takes inputs of the size of the calibration samples. On JAX and PyTorch, a child process with
    TensorFlow loads and converts the model, and the file is verified against the model itself.

    Args:
        model: A built Functional, Sequential or subclassed `keras.Model`.
        path: Where to write, ending in `.tflite`, in an existing folder.
        quantization: Defaults to `"float32"`, unchanged. `"float16"`: float16 weights. `"dynamic"`:
            int8 weights, except in tensors of fewer than 1,024 values, and float activations.
            `"int8"`: int8 weights and activations; ops without an 8-bit kernel stay in float32.
            `"int16x8"`: 8-bit weights and 16-bit activations, many times slower, because LiteRT has
            only reference kernels for it. `"weight_only_int8"`, `"int4"`: quantized weights and
            float computation, by ai-edge-quantizer (`pip install 'keras_kd[quantizer]'`).
        calibration: Representative samples, for int8 and int16x8: a `tf.data.Dataset` of batches,
            or arrays. In both, a tuple is `(x, ...)`, of which x is used; several inputs are a list
            or a dictionary. A model from `kd.compression.quantize_aware` needs none: it contains
            the ranges that it was trained with.
        calibration_samples: Number of samples to use, from the beginning. Defaults to 300.
        verification: Samples for the verification, in the same forms; with `(x, y)`, accuracy is
            computed with the labels y. Defaults to `calibration`.
        verification_samples: Maximum number of them to use. Defaults to 1,000.
        max_drop: Percentage points of accuracy that the file may lose: of classes, of a yes-or-no
            question, or of all independent labels. Labels that cannot be used for it are a
            warning. Defaults to 2.
        tolerance: Relative difference (see `Score`) allowed for an output without labels, and for
            numbers (regression). Defaults to 0.001 for float32, 0.02 for float16 and 0.5 for
            others.
        batch_size: Number of samples per run of the file, or `None` for any number, which is
            slower. A model that cannot be converted for the given number gets any number.
            Defaults to 1.
        io_dtype: Dtype of the inputs and outputs that are real numbers in the model: `"float32"`,
            for int8 also `"int8"` or `"uint8"`, for int16x8 also `"int16"`. Defaults to
            `"float32"`.
        per_channel: Whether the weights of int8, int16x8 and dynamic have one scale per channel
            instead of one per tensor, which makes the file a little larger. Defaults to `True`.
        allow_flex: Whether to keep ops that LiteRT lacks as TensorFlow ops. Such a file needs an
            application with the Flex delegate; Python's LiteRT has none. Defaults to `False`.
        input_signature: `tf.TensorSpec`s nested as the model's argument, for a subclassed model
            with inputs other than floats. Defaults to the inputs that the model records.
        signatures: Entry points of the file by name: a tap (a layer's name, `outer/inner` inside a
            nested model), or `None` for the model's outputs. The first one is the main graph.
            Defaults to one, `"serving_default"`, for the outputs.
        normalization: `(mean, std)` such that `(raw - mean) / std` is the model's input, each a
            number or one per channel; for several inputs a dictionary. Written into the file's
            metadata for the application. Defaults to `None`.
        raw_inputs: Whether the file normalizes raw inputs itself. Samples passed here are still
            normalized, as the model takes them. Defaults to `False`.
        answer: Op that the file applies to an output of logits: `"softmax"`, `"sigmoid"`, or
            `"argmax"` (the class index); for several outputs a dictionary. Defaults to `None`.
        labels: Class names of an output, written into the metadata; for several outputs a
            dictionary. Defaults to `None`.
        outputs: What the outputs are, as for `evaluate`; needed only for the verification, and if
            the compiled loss, the activation of the output and the labels do not tell. Defaults to
            `"auto"`.
        ignore_class: A label that is not counted, such as 255 for void pixels. Defaults to `None`,
            that of the loss that the model is compiled with.
        keep_float: For int8, layers whose ops stay in float32, by the names that `layer_errors`
            lists. `"auto"`: if the file loses more than `max_drop` or `tolerance`, layers that add
            large errors, none of which can be omitted. Defaults to `None`, none.

    Returns:
        The file as a `TFLiteModel`; its `verification` contains the scores, and `float_layers` the
        layers of `keep_float`.

    Raises:
        TypeError: If `model` is not a `keras.Model`.
        ValueError: If an argument is invalid, or the model cannot be converted.
        VerificationError: If the outputs of the file differ too much from those of the model.
        RuntimeError: If LiteRT or the converter fails.
        OSError: If the folder does not exist or is not writable.

    Example:
        >>> tflite = to_tflite(model, "model.tflite", "int8", calibration=train, verification=test)
        >>> tflite.size, tflite.verification.drop
        (11104, 0.1)
    """
    first = (quantization, batch_size, io_dtype, per_channel, allow_flex, signatures)
    options = Options(*first, normalization, raw_inputs, answer, labels, keep_float)
    path = Path(path)
    inputs = infer_signature(model, input_signature)
    data = calibration if verification is None else verification
    fallback = (inputs.random_batch(),)
    rules = ScoreOptions(outputs, ignore_class=ignore_class, lenient=True)
    verify = Verification(data, verification_samples, fallback, max_drop, tolerance, rules)
    require_writable(path, ".tflite")
    with atomic_write(path) as temporary:
        samples = _take_samples(calibration, inputs, options, calibration_samples)
        content, description, floats = _convert(model, inputs, options, samples, verify)
        scores = verify.run(content, description, model, path)
        temporary.write_bytes(content)
    names = next(iter(description.outputs.values()))
    return TFLiteModel(path, quantization, description.inputs, names, scores, float_layers=floats)


def _take_samples(
    calibration: Any, inputs: Signature, options: Options, limit: int
) -> dict[str, np.ndarray] | None:
    """Return the samples for the calibration, `None` if it needs none or there are none."""
    if options.quantization not in CALIBRATED or calibration is None:
        return None
    return calibration_data.take_samples(calibration, inputs, limit)


def _convert(
    model: keras.Model,
    inputs: Signature,
    options: Options,
    samples: Mapping[str, np.ndarray] | None,
    verify: Verification,
) -> tuple[bytes, Description, tuple[str, ...]]:
    """Return the content of the file, its description, and the layers that stay in float32."""
    if options.keep_float is None:
        return *convert_model(model, inputs, options, samples), ()
    partly = PartlyQuantized(model, inputs, options, samples)
    content, floats = partly.choose(verify)
    return content, partly.description, floats
