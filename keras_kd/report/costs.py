"""What a model of a report costs: its file's bytes, products and time."""

import gzip
import tempfile
from pathlib import Path
from typing import Any

import keras

from keras_kd.export.benchmark import benchmark
from keras_kd.export.metadata import describe_content
from keras_kd.export.tflite import to_tflite
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.litert.interpreter import read_tflite


def cost_of(model: Any, runs: int) -> dict[str, Any]:
    """Returns the costs of a model as fields of an `Entry`.

    Args:
        model: A `keras.Model`, which is converted to float32, a `TFLiteModel` or a path.
        runs: How many runs to time.
    """
    if isinstance(model, keras.Model):
        with tempfile.TemporaryDirectory() as folder:
            try:
                file = to_tflite(model, Path(folder) / "model.tflite")
                return {"kind": "Keras (as float32 file)", **_measured(file.path, runs)}
            except (ValueError, RuntimeError) as error:
                return {"kind": "Keras", "note": f"No file of it: {error}"}
    path = model.path if isinstance(model, TFLiteModel) else Path(model)
    quantization = describe_content(read_tflite(path)).quantization
    return {"kind": f"{quantization or '.tflite'} file", **_measured(path, runs)}


def _measured(path: Path, runs: int) -> dict[str, Any]:
    found = benchmark(path, runs=runs)
    latency = found.latencies[0]
    return {
        "parameters": found.parameters,
        "macs": found.macs,
        "size": found.size,
        "gzip_size": len(gzip.compress(path.read_bytes(), 9, mtime=0)),
        "latency_us": latency.median_us,
        "p95_us": latency.p95_us,
        "noise": latency.noise,
        "memory": latency.memory,
    }
