"""From a Keras model to a .tflite file: written whole, and held against the model before it is."""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.export import calibration as calibration_data
from keras_kd.export import pre_post_processing as ends
from keras_kd.export import saved_model as tracing
from keras_kd.export.conversion import CALIBRATED, MODEL, ConversionError, convert, unknown_ops
from keras_kd.export.metadata import Description, described
from keras_kd.export.options import Options
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.export.verification import Proof
from keras_kd.export.weight_only import WEIGHT_ONLY, quantize_weights
from keras_kd.files import atomic_write, require_writable
from keras_kd.litert import signature


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
) -> TFLiteModel:
    """Converts a Keras model to a .tflite file that LiteRT runs, and verifies it.

    The file is run beside the model on `verification`, or on `calibration` where there is none. One
    that loses more than `max_drop` points of accuracy or, where labels do not say, differs by more
    than `tolerance`, is refused: it is kept as `NAME.rejected.tflite`, and what was under the name
    before stays. Without samples, float32 and float16 are compared on made-up ones, and others are
    run only.

    The file is written whole or not at all. What could end the process, LiteRT and any conversion
    of uncommon ops, runs in a process of its own. A model trained in mixed precision is converted
    in float32. For int8 and int16x8, recurrent layers are written out step by step.

    Args:
        model: A built Functional, Sequential or subclassed `keras.Model`.
        path: Where to write, ending in `.tflite`, in a folder that exists.
        quantization: Defaults to `"float32"`, as trained. `"float16"` weights. `"dynamic"`: int8
            weights, except of tensors of fewer than 1,024 values, and float activations. `"int8"`:
            weights and activations; ops that have no 8-bit kernel stay in float32. `"int16x8"`:
            8-bit weights and 16-bit activations, many times as slow, since LiteRT's kernels for it
            are plain ones. `"weight_only_int8"`, `"int4"`: weights alone, computed in float, by
            ai-edge-quantizer (`pip install 'keras_kd[quantizer]'`).
        calibration: Samples such as the model will see, for int8 and int16x8: a `tf.data.Dataset`
            of batches, or arrays. In both a tuple is `(x, ...)`, of which x is used; several
            inputs are a list or a dictionary. A model from `kd.compression.quantize_aware` needs
            none: it brings the ranges that it was trained with.
        calibration_samples: How many samples to take, from the beginning. Defaults to 300.
        verification: Samples to verify with, likewise; in `(x, y)`, labels y give the accuracy.
            Defaults to `calibration`.
        verification_samples: How many of them to take at most. Defaults to 1,000.
        max_drop: Points of accuracy that the file may lose against the model. Defaults to 2.
        tolerance: Relative difference (see `Score`) that an output without labels may have.
            Defaults to 0.001 for float32, 0.02 for float16 and 0.5 for others.
        batch_size: Number of samples of one run of the file, or `None` to leave it free, which
            costs speed. Defaults to 1.
        io_dtype: Dtype of the inputs and outputs that are real numbers in the model: `"float32"`,
            for int8 also `"int8"` or `"uint8"`, for int16x8 also `"int16"`. Defaults to
            `"float32"`.
        per_channel: Whether the weights of int8, int16x8 and dynamic have a scale for each channel;
            a single one makes the file a little smaller. Defaults to `True`.
        allow_flex: Whether ops that LiteRT lacks may be left to TensorFlow. Such a file needs an
            application with the Flex delegate: Python's LiteRT has none. Defaults to `False`.
        input_signature: What the model is called with, `tf.TensorSpec`s nested as its argument, for
            a subclassed model that takes other than floats. Defaults to what the model says.
        signatures: Entry points of the file by name: a tap (a layer's name, `outer/inner` inside a
            nested model), or `None` for the model's outputs. The first one is the main graph.
            Defaults to one, `"serving_default"`, for the outputs.
        normalization: `(mean, std)` if `(raw - mean) / std` made the model's input of raw values,
            each a number or one for each channel; for several inputs a dictionary. Written into the
            file, for the application to do. Defaults to `None`.
        raw_inputs: Whether the file does it itself, and takes raw values. Samples given here are
            still such as the model takes. Defaults to `False`.
        answer: What the file gives in place of an output that is logits: `"softmax"`, `"sigmoid"`,
            or `"argmax"`, the class number; for several outputs a dictionary. Defaults to `None`.
        labels: Names of an output's classes, written into the file; for several outputs a
            dictionary. Defaults to `None`.

    Returns:
        The file, as a `TFLiteModel`; its `verification` says what it scored.

    Raises:
        TypeError: If `model` is not a `keras.Model`.
        ValueError: If an argument is wrong, or if the model cannot be converted as asked.
        VerificationError: If the file answers otherwise than the model.
        RuntimeError: If LiteRT or the converter fails over the model.
        OSError: If the folder does not exist or cannot be written.

    Example:
        >>> tflite = to_tflite(model, "model.tflite", "int8", calibration=train, verification=test)
        >>> tflite.size, tflite.verification.drop
        (11104, 0.1)
    """
    options = Options(
        quantization,
        batch_size,
        io_dtype,
        per_channel,
        allow_flex,
        signatures,
        normalization,
        raw_inputs,
        answer,
        labels,
    )
    inputs = signature.of_inputs(model, input_signature)
    data = calibration if verification is None else verification
    made_up = (inputs.pack(calibration_data.made_up(inputs)),)
    proof = Proof(data, verification_samples, made_up, max_drop, tolerance)
    require_writable(Path(path), ".tflite")
    with atomic_write(Path(path)) as temporary:
        samples = None
        if quantization in CALIBRATED and calibration is not None:
            samples = calibration_data.samples(calibration, inputs, calibration_samples)
        content, about = converted(model, inputs, options, samples)
        scores = proof.of(content, about, model, Path(path))
        temporary.write_bytes(content)
    outputs = next(iter(about.outputs.values()))
    return TFLiteModel(Path(path), quantization, about.inputs, outputs, scores)


def converted(
    model: keras.Model,
    inputs: signature.Signature,
    options: Options,
    samples: Mapping[str, np.ndarray] | None,
    loops: bool | None = None,
) -> tuple[bytes, Description]:
    """Returns the content of the file, and what it says of itself.

    Args:
        model: A built model.
        inputs: What it is called with.
        options: What the file shall be.
        samples: Samples to calibrate with, by input, such as the model takes; `None` for none.
        loops: Whether recurrent layers loop in it. Defaults to where they can.

    Raises:
        ValueError: If the model cannot be converted as asked.
        RuntimeError: If the converter fails over it.
    """
    normalized = ends.normalizations(options.normalization, inputs.specs, options.raw_inputs)
    traced = _traced(model, inputs, options, normalized, loops)
    if traced.rounds:
        samples = None
    elif samples is None and options.quantization in CALIBRATED:
        calibration_data.samples(None, inputs, 1)  # Says what is missing.
    if samples is not None and options.raw_inputs:
        samples = calibration_data.raw(samples, normalized, options.io_dtype)
    content = _convert(model.name, traced, options, samples)
    if options.quantization in WEIGHT_ONLY:
        content = quantize_weights(content, options.quantization)
    about = Description(
        options.quantization,
        inputs.names,
        traced.outputs,
        {key: tap for key, tap in options.taps.items() if tap is not None},
        normalized,
        options.raw_inputs,
        traced.ends.answers,
        ends.labels(options.labels, traced.shapes),
    )
    return described(content, about, {n: s.shape for n, s in inputs.specs.items()}), about


def _traced(
    model: keras.Model,
    inputs: signature.Signature,
    options: Options,
    normalized: Mapping[str, ends.Normalization],
    loops: bool | None,
) -> tracing.Traced:
    """Returns the graphs of the model, without loops where these cannot be quantized.

    Raises:
        ValueError: If it has such a loop still.
    """

    def around(shapes: Mapping[str, Sequence[int | None]]) -> ends.Ends:
        answers = ends.answers(options.answer, shapes)
        ends.require_logits(model, answers, inputs)
        return ends.Ends(normalized, options.raw_inputs, answers)

    arguments = (model, inputs, options.batch_size, around, options.taps)
    traced = tracing.trace(*arguments)
    if traced.rounds and options.quantization != "int8":
        raise ValueError(
            f"Expected quantization='int8' for '{model.name}', which was trained with the rounding "
            f"of int8. Received: {options.quantization!r}. For other files export the student that "
            "it was trained from."
        )
    looping = options.quantization not in CALIBRATED if loops is None else loops
    if looping or traced.rounds or not traced.loops:
        return traced
    traced = tracing.trace(*arguments, loops=False)
    if traced.loops:
        raise ValueError(
            f"Expected layers that can be quantized to {options.quantization}. Received: a loop "
            f"that is no recurrent layer of Keras (`map_fn`, `while_loop`) in {traced.loops}, "
            'which the converter cannot calibrate. Use quantization="dynamic" or "float16", or '
            "write the loop out."
        )
    return traced


def _convert(
    name: str,
    traced: tracing.Traced,
    options: Options,
    samples: Mapping[str, np.ndarray] | None,
) -> bytes:
    """Runs the converter, and says in the user's words what it refuses.

    Raises:
        ValueError: If the model has ops that the file may not have, or needs a fixed batch size.
        RuntimeError: If it fails in another way.
    """
    with tempfile.TemporaryDirectory() as folder:
        traced.save(Path(folder) / MODEL)
        try:
            request = dataclasses.replace(options.request, rounds=traced.rounds)
            return convert(Path(folder), traced.ops, request, samples)
        except ConversionError as error:
            refusal = _refusal(error, name, traced, options)
            if refusal is not None:
                raise ValueError(refusal) from error
            raise RuntimeError(
                f"Expected a model that TensorFlow's converter takes. Received: model '{name}', at "
                f"which it stopped: {str(error)[:2000]}"
            ) from error


def _refusal(
    error: ConversionError, name: str, traced: tracing.Traced, options: Options
) -> str | None:
    """Returns what the converter's message means, where it is one of those that users meet."""
    if "'tf.TensorListReserve' op requires element_shape to be static" in str(error):
        return (
            f"Expected a fixed batch size for a model with a loop over time steps (LSTM, GRU, "
            f"another RNN). Received: model '{name}' with batch_size=None. Use batch_size=1, or "
            "make these layers with `unroll=True`."
        )
    unknown = unknown_ops(error)
    if not unknown:
        return None
    remedy = (
        "TensorFlow's Flex kernels do not have them either: use other layers."
        if options.allow_flex
        else "Use other layers, or pass allow_flex=True to leave them to TensorFlow's kernels, for "
        "an application that links the Flex delegate."
    )
    where = ", ".join(f"{op} (in {', '.join(traced.places(op)) or '?'})" for op in unknown)
    return (
        f"Expected ops that are built into LiteRT. Received: model '{name}' with {where}. {remedy}"
    )
