"""The converter at work on a SavedModel, in this process or in one of its own.

TensorFlow's converter can end the process that runs it. Graphs of ops that are known to convert are
converted in this process; others in a child, `python -m keras_kd.export.conversion FOLDER`, which
costs the seconds that TensorFlow takes to start.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_kd.export.calibration import batches_of
from keras_kd.litert.process import describe_exit

#: Quantizations that need samples, to see which values the layers have.
CALIBRATED = ("int8", "int16x8")
MODEL = "model"
_REQUEST, _SAMPLES, _RESULT, _ERROR = "request.json", "samples.npz", "model.tflite", "error.txt"
# The ops of Keras's layers, which convert, as tests and benchmarks show. (Loops do so too; it is
# calibration that ends a process over them, and `to_tflite` does not let it come to that.)
_HARMLESS = """
    Add AddV2 ArgMax AvgPool BatchMatMulV2 BiasAdd Cast ConcatV2 Const Conv2D
    Conv2DBackpropInput DepthwiseConv2dNative Einsum Elu Equal Erf Erfc Exp ExpandDims
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
    FusedBatchNormV3 Gather GatherV2 Greater GreaterEqual Identity
    IdentityN LeakyRelu Less LessEqual LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool
    Maximum Mean Minimum MirrorPad Mul Neg NoOp NotEqual Pack Pad PadV2 PartitionedCall
    Placeholder Prod Range ReadVariableOp RealDiv Relu Relu6 Reshape ResizeBilinear
    ResizeNearestNeighbor ResourceGather ReverseV2 Rsqrt SelectV2 Selu Shape Sigmoid Slice
    Softmax Softplus Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall
    StopGradient StridedSlice Sub Sum Tanh TensorListFromTensor TensorListGetItem
    TensorListReserve TensorListSetItem TensorListStack Tile Transpose Unpack While
"""


@dataclass(frozen=True)
class Request:
    """What the converter is asked for.

    Attributes:
        quantization: `"float32"`, `"float16"`, `"dynamic"`, `"int8"` or `"int16x8"`.
        signatures: The SavedModel's signatures to convert, the main one first.
        io_dtype: Dtype of the inputs and outputs that are real numbers in the model.
        per_channel: Whether weights have a scale for each channel.
        allow_flex: Whether ops may be left to TensorFlow.
        batch_size: Number of samples of one run, for the calibration.
        rounds: Whether the model brings its own ranges, so that there is no calibration; ops
            without one stay in float.
    """

    quantization: str
    signatures: tuple[str, ...]
    io_dtype: str
    per_channel: bool
    allow_flex: bool
    batch_size: int
    rounds: bool = False


class ConversionError(Exception):
    """What the converter says when it refuses, or what became of its process."""


def convert(
    folder: Path, ops: set[str], request: Request, samples: dict[str, np.ndarray] | None
) -> bytes:
    """Converts the SavedModel in a folder.

    Args:
        folder: A folder for this conversion alone, with the SavedModel in `MODEL`.
        ops: The kinds of ops in it.
        request: What is asked for.
        samples: Samples to calibrate with, by input.

    Returns:
        The content of the .tflite file.

    Raises:
        ConversionError: If the converter refuses the model, or ends its process over it.
    """
    if ops <= set(_HARMLESS.split()):
        return _convert(folder / MODEL, request, samples)
    (folder / _REQUEST).write_text(json.dumps(dataclasses.asdict(request)))
    if samples is not None:
        np.savez(folder / _SAMPLES, **samples)
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    command = [sys.executable, "-P", "-m", __name__, str(folder)]
    run = subprocess.run(command, env=environment, capture_output=True, check=False)
    if (folder / _ERROR).exists():
        raise ConversionError((folder / _ERROR).read_text())
    if run.returncode:
        raise ConversionError(f"the converter {describe_exit(run.returncode, run.stderr)}")
    return (folder / _RESULT).read_bytes()


def unknown_ops(error: ConversionError) -> list[str]:
    """Returns the ops that LiteRT lacks, where the converter refuses a model for them."""
    return sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor", str(error))))


def _convert(model: Path, request: Request, samples: dict[str, np.ndarray] | None) -> bytes:
    converter = _converter(model, request)
    if samples is not None:
        several = len(request.signatures) > 1
        converter.representative_dataset = lambda: (
            (key, batch) if several else batch
            for key in request.signatures
            for batch in batches_of(samples, request.batch_size)
        )
    with warnings.catch_warnings():
        # The converter itself makes the old interpreter, to calibrate.
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        try:
            return converter.convert()
        except Exception as error:  # It raises what its many parts raise.
            raise ConversionError(str(error)) from error


def _converter(model: Path, request: Request) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(model), signature_keys=list(request.signatures)
    )
    ops = tf.lite.OpsSet
    builtins = {
        "int8": ops.TFLITE_BUILTINS if request.rounds else ops.TFLITE_BUILTINS_INT8,
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
    # TensorFlow has no public name for it.
    converter._experimental_disable_per_channel = not request.per_channel
    return converter


def _serve(folder: Path) -> int:
    """Answers the request that lies in a folder."""
    fields = json.loads((folder / _REQUEST).read_text())
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
    sys.exit(_serve(Path(sys.argv[1])))
