"""Run TensorFlow's converter on a SavedModel, in this process or in a child process.

The converter can crash the process that runs it. Graphs of ops that are known to convert are
converted in this process; others in a child, which takes some seconds to start TensorFlow.
"""

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize  # Has no public name.

from keras_kd.export.calibration import full_batches
from keras_kd.files import read_json, write_json
from keras_kd.litert.flatbuffer import rename_signatures
from keras_kd.litert.process import describe_exit
from keras_kd.models.native_output import hold_native_output

#: Formats that need samples to determine the ranges of the activations.
CALIBRATED = ("int8", "int16x8")
#: Formats of float weights and float computation.
FLOATS = ("float32", "float16")
MODEL = "model"
_REQUEST, _SAMPLES, _RESULT, _ERROR = "request.json", "samples.npz", "model.tflite", "error.txt"
# Keras imports these libraries if they are installed, which takes a third of the start.
_START = """
import runpy, sys
sys.modules.update(matplotlib=None, sklearn=None)
runpy.run_module("keras_kd.export.conversion", run_name="__main__")
"""
# Ops of Keras layers that convert without a crash, as tests and benchmarks show. (So do loops; only
# their calibration crashes, which `to_tflite` avoids.)
_SAFE_OPS = """
    Abs Add AddV2 ArgMax AvgPool BatchMatMulV2 BiasAdd BroadcastTo Cast ConcatV2 Const Conv2D
    Conv2DBackpropInput DepthwiseConv2dNative Einsum Elu Equal Erf Erfc Exp ExpandDims
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill
    FusedBatchNormV3 Gather GatherV2 Greater GreaterEqual Identity IdentityN LeakyRelu Less
    LessEqual LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul MatrixBandPart Max MaxPool Maximum
    Mean Minimum MirrorPad Mul Neg NoOp NotEqual Pack Pad PadV2 PartitionedCall Placeholder Prod
    Range ReadVariableOp RealDiv Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor
    ResourceGather ReverseV2 Round Rsqrt SelectV2 Selu Shape Sigmoid Slice Softmax Softplus Split
    SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StopGradient StridedSlice
    Sub Sum Tanh TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem
    TensorListStack Tile Transpose Unpack While
"""


@dataclass(frozen=True)
class Request:
    """Settings of the converter.

    Attributes:
        quantization: `"float32"`, `"float16"`, `"dynamic"`, `"int8"` or `"int16x8"`.
        signatures: The SavedModel's signatures to convert, the main one first.
        io_dtype: Dtype of the inputs and outputs that are real numbers in the model.
        per_channel: Whether weights have one scale per channel.
        allow_flex: Whether TensorFlow ops are allowed.
        batch_size: Number of samples per run, for the calibration.
        quantization_aware: Whether the graph contains its own ranges: it is not calibrated, and ops
            without a range stay in float.
        per_channel_dense: Whether weights of dense layers have one scale per channel too.
        calibrate_only: Whether the file stays in float32, with the ranges for
            `quantize_calibrated`.
    """

    quantization: str
    signatures: tuple[str, ...]
    io_dtype: str
    per_channel: bool
    allow_flex: bool
    batch_size: int
    quantization_aware: bool = False
    per_channel_dense: bool = True
    calibrate_only: bool = False


class ConversionError(Exception):
    """The error message of the converter, or how its process ended."""


def convert(
    folder: Path, ops: set[str], request: Request, samples: dict[str, np.ndarray] | None
) -> bytes:
    """Convert the SavedModel in a folder.

    Raises:
        ConversionError: If the converter fails or crashes.
    """
    if ops <= set(_SAFE_OPS.split()):
        return _convert(folder / MODEL, request, samples)
    write_json(folder / _REQUEST, dataclasses.asdict(request))
    if samples is not None:
        np.savez(folder / _SAMPLES, **samples)
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    command = [sys.executable, "-P", "-c", _START, str(folder)]
    run = subprocess.run(command, env=environment, capture_output=True, check=False)
    if (folder / _ERROR).exists():
        raise ConversionError((folder / _ERROR).read_text())
    if run.returncode:
        raise ConversionError(f"the converter {describe_exit(run.returncode, run.stderr)}")
    return (folder / _RESULT).read_bytes()


@contextlib.contextmanager
def hold_information() -> Iterator[None]:
    """Drop what TensorFlow logs in Python below a warning; in a notebook it prints that."""
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(before)


def saved_names(signatures: Sequence[str]) -> list[str]:
    """Return the names of signatures in a SavedModel: in their order, by which they are sorted.

    The converter sorts them by name, and the first one becomes the main graph.
    """
    if len(signatures) == 1:
        return list(signatures)
    return [f"{position:03}_{name}" for position, name in enumerate(signatures)]


def missing_ops(error: ConversionError) -> list[str]:
    """Return the ops that LiteRT lacks, if the converter failed for that reason."""
    return sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor", str(error))))


def _convert(model: Path, request: Request, samples: dict[str, np.ndarray] | None) -> bytes:
    converter = _converter(model, request)
    names, several = saved_names(request.signatures), len(request.signatures) > 1
    if samples is not None:
        converter.representative_dataset = lambda: (
            (key, batch) if several else batch
            for key in names
            for batch in full_batches(samples, request.batch_size)
        )
    with warnings.catch_warnings():
        # The converter itself calibrates with the deprecated interpreter.
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        try:
            # The error has the converter's message.
            with hold_native_output(show_on=()), hold_information():
                content = converter.convert()
        except Exception as error:  # The converter raises many types.
            raise ConversionError(str(error)) from error
    return rename_signatures(content, dict(zip(names, request.signatures, strict=True)))


def _converter(model: Path, request: Request) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(model), signature_keys=saved_names(request.signatures)
    )
    ops = tf.lite.OpsSet
    builtins = {
        "int8": ops.TFLITE_BUILTINS if request.quantization_aware else ops.TFLITE_BUILTINS_INT8,
        "int16x8": ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    }.get(request.quantization, ops.TFLITE_BUILTINS)
    flex = [ops.SELECT_TF_OPS] if request.allow_flex else []
    converter.target_spec.supported_ops = [builtins, *flex]
    if request.quantization == "int16x8":
        converter.target_spec.supported_ops.append(ops.TFLITE_BUILTINS)
    if request.quantization != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if request.quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    dtype = tf.dtypes.as_dtype(request.io_dtype)
    converter.inference_input_type = converter.inference_output_type = dtype
    # There are no public options for these.
    converter._experimental_disable_per_channel = not request.per_channel
    converter._experimental_disable_per_channel_quantization_for_dense_layers = (
        not request.per_channel_dense
    )
    converter._experimental_calibrate_only = request.calibrate_only
    return converter


def quantize_calibrated(content: bytes, request: Request, keep: Sequence[str]) -> bytes:
    """Quantize a calibrated file in float32, except the ops with outputs of the given names.

    Raises:
        ConversionError: If the quantizer fails.
    """
    dtype = tf.dtypes.as_dtype(request.io_dtype)
    try:
        with hold_native_output(show_on=()):
            return mlir_quantize(
                content,
                disable_per_channel=not request.per_channel,
                input_data_type=dtype,
                output_data_type=dtype,
                denylisted_nodes=list(keep) or None,
            )
    except Exception as error:  # The quantizer raises many types.
        raise ConversionError(str(error)) from error


def _run_request(folder: Path) -> int:
    """Run the conversion described in a folder and return the exit status."""
    fields = read_json(folder / _REQUEST)
    request = Request(**{**fields, "signatures": tuple(fields["signatures"])})
    samples = None
    if (folder / _SAMPLES).exists():
        with np.load(folder / _SAMPLES, allow_pickle=False) as file:
            samples = dict(file)
    try:
        (folder / _RESULT).write_bytes(_convert(folder / MODEL, request, samples))
    except ConversionError as error:
        (folder / _ERROR).write_text(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_run_request(Path(sys.argv[1])))
