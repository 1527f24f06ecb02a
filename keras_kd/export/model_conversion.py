"""Convert a Keras model to the content of a .tflite file."""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_kd.export import calibration as calibration_data
from keras_kd.export import pre_post_processing, saved_model
from keras_kd.export.conversion import CALIBRATED, MODEL, ConversionError, convert
from keras_kd.export.conversion_errors import (
    conversion_error,
    reject_lookups,
    reject_lost_numbers,
    reject_random_outputs,
)
from keras_kd.export.four_bits import pack_kernels
from keras_kd.export.metadata import Description, embed_description
from keras_kd.export.options import Options
from keras_kd.export.pre_post_processing import Normalization, Processing
from keras_kd.export.saved_model import TracedModel
from keras_kd.export.tensorflow_process import run_on_tensorflow
from keras_kd.export.weight_only import WEIGHT_ONLY, quantize_weights
from keras_kd.litert.signature import Signature
from keras_kd.models.activation_range import activation_ranges
from keras_kd.models.keras_compat import nested_layers
from keras_kd.models.rounded_layers import has_dense_scales, has_four_bits
from keras_kd.training.backend import BACKEND


def convert_model(
    model: keras.Model,
    inputs: Signature,
    options: Options,
    samples: Mapping[str, np.ndarray] | None,
    loops: bool | None = None,
) -> tuple[bytes, Description]:
    """Return the content of the file and its description.

    With `options.keep_float`, the content is that of a calibrated file in float32, without the
    description.

    Raises:
        ValueError: If the model cannot be converted.
        RuntimeError: If the converter fails.
    """
    if BACKEND != "tensorflow":
        return run_on_tensorflow(convert_model, model, inputs, options, samples, loops)
    normalization = pre_post_processing.parse_normalization(
        options.normalization, inputs.specs, options.raw_inputs
    )
    if samples is not None and any(isinstance(x, keras.layers.RNN) for x in nested_layers(model)):
        inputs = inputs.with_sizes_of(samples)  # Unrolling needs a fixed number of steps.
    traced = _trace(model, inputs, options, normalization, loops)
    reject_lookups(model, traced)
    reject_random_outputs(model, inputs, traced)
    if traced.quantization_aware:
        _check_rounding(model, options)
        samples = None
    elif samples is None and options.quantization in CALIBRATED:
        calibration_data.take_samples(None, inputs, 1)  # Raises the error for missing data.
    if samples is not None and options.raw_inputs:
        samples = calibration_data.denormalize(samples, normalization, options.io_dtype)
    dense = has_dense_scales(model)
    try:
        content = _convert(model.name, traced, options, inputs, samples, dense)
    except RuntimeError:
        if options.batch_size is None:
            raise
        # The converter can fail for a batch of a fixed size where a free one works.
        free = dataclasses.replace(options, batch_size=None)
        traced = _trace(model, inputs, free, normalization, loops)
        content = _convert(model.name, traced, free, inputs, samples, dense)
    if options.quantization in CALIBRATED:
        reject_lost_numbers(model.name, content)
    content = _shrink_weights(content, model, options)
    description = _description(traced, inputs, options, normalization)
    if options.keep_float is not None:
        return content, description
    return describe(content, description, inputs), description


def _description(
    traced: TracedModel,
    inputs: Signature,
    options: Options,
    normalization: Mapping[str, Normalization],
) -> Description:
    """Return what a file says about its inputs, outputs and processing."""
    return Description(
        options.quantization,
        inputs.names,
        traced.outputs,
        {key: tap for key, tap in options.taps.items() if tap is not None},
        normalization,
        options.raw_inputs,
        traced.processing.final_ops,
        pre_post_processing.parse_labels(options.labels, traced.shapes),
    )


def _shrink_weights(content: bytes, model: keras.Model, options: Options) -> bytes:
    """Return a file with the weights that the converter itself does not quantize."""
    if has_four_bits(model):
        content = pack_kernels(content)
    if options.quantization in WEIGHT_ONLY:
        content = quantize_weights(content, options.quantization)
    return content


def describe(content: bytes, description: Description, inputs: Signature) -> bytes:
    """Return the content of a file with its description."""
    shapes = {name: spec.shape for name, spec in inputs.specs.items()}
    return embed_description(content, description, shapes)


def _trace(
    model: keras.Model,
    inputs: Signature,
    options: Options,
    normalization: Mapping[str, Normalization],
    loops: bool | None,
) -> TracedModel:
    """Trace the model, for a calibrated format without loops and with masked logits in its range.

    Raises:
        ValueError: If a loop remains that cannot be quantized.
    """

    def make_processing(shapes: Mapping[str, Sequence[int | None]]) -> Processing:
        final_ops = pre_post_processing.parse_answer(options.answer, shapes)
        pre_post_processing.require_logits(model, final_ops, inputs)
        return Processing(normalization, options.raw_inputs, final_ops)

    arguments = (model, inputs, options.batch_size, make_processing, options.taps)
    keep_loops = options.quantization not in CALIBRATED if loops is None else loops
    traced = saved_model.trace(*arguments, quantized=not keep_loops)
    if traced.quantization_aware and options.quantization != "int8":
        raise ValueError(
            f"Expected quantization='int8' for '{model.name}', which was trained with "
            f"quantize_aware. Received: {options.quantization!r}. For other formats, export the "
            "student that it was trained from."
        )
    if traced.quantization_aware and options.keep_float is not None:
        raise ValueError(
            f"Expected keep_float=None for '{model.name}', which was trained with quantize_aware. "
            f"Received: keep_float={options.keep_float!r}. Train it with `skip`, the layers to "
            "leave in float."
        )
    if keep_loops or traced.quantization_aware or not traced.loop_layers:
        return traced
    traced = saved_model.trace(*arguments, loops=False, quantized=True)
    if traced.loop_layers:
        raise ValueError(
            f"Expected layers that can be quantized to {options.quantization}. Received: a loop "
            f"outside Keras's recurrent layers (`map_fn`, `while_loop`) in {traced.loop_layers}, "
            'which the converter cannot calibrate. Use quantization="dynamic" or "float16", or '
            "unroll the loop."
        )
    return traced


def _check_rounding(model: keras.Model, options: Options) -> None:
    """Check that the file can round as the model of a quantization-aware training does.

    Raises:
        ValueError: If its ranges are not known, or its weights were rounded per channel.
    """
    ranges = activation_ranges(model)
    unknown = [layer.name for layer in ranges if not layer.is_calibrated]
    if unknown:
        raise ValueError(
            f"Expected a model with known ranges. Received: '{model.name}', whose ranges "
            f"{unknown[:3]} were never set. Train it with `kd.compression.quantize_aware`, or load "
            "its weights."
        )
    if ranges and not options.per_channel:
        raise ValueError(
            f"Expected per_channel=True for '{model.name}', which was trained with one scale per "
            "channel. Received: per_channel=False. Omit `per_channel`."
        )


def _convert(
    name: str,
    traced: TracedModel,
    options: Options,
    inputs: Signature,
    samples: Mapping[str, np.ndarray] | None,
    per_channel_dense: bool,
) -> bytes:
    """Run the converter.

    Raises:
        ValueError: If the model has unsupported ops, or needs a fixed batch size.
        RuntimeError: If the converter fails for another reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        traced.save(Path(folder) / MODEL)
        try:
            request = dataclasses.replace(
                options.request,
                quantization_aware=traced.quantization_aware,
                per_channel_dense=per_channel_dense,
            )
            return convert(Path(folder), traced.ops, request, samples)
        except ConversionError as error:
            raise conversion_error(error, name, traced, options, inputs) from error
