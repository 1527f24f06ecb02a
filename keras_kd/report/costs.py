"""Costs of a model in a report: size, operations and latency of its file."""

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


def measure_costs(model: Any, runs: int) -> dict[str, Any]:
    """Measure the costs of a model, as fields of an `Entry`."""
    if isinstance(model, keras.Model):
        with tempfile.TemporaryDirectory() as folder:
            try:
                file = to_tflite(model, Path(folder) / "model.tflite")
                return {"kind": "Keras (as float32 file)", **_measure_file(file.path, runs)}
            except (ValueError, RuntimeError) as error:
                return {"kind": "Keras", "note": f"The model cannot be exported: {error}"}
    path = model.path if isinstance(model, TFLiteModel) else Path(model)
    quantization = describe_content(read_tflite(path)).quantization
    return {"kind": f"{quantization or '.tflite'} file", **_measure_file(path, runs)}


def _measure_file(path: Path, runs: int) -> dict[str, Any]:
    result = benchmark(path, runs=runs)
    latency = result.latencies[0]
    return {
        "parameters": result.parameters,
        "macs": result.macs,
        "size": result.size,
        "gzip_size": len(gzip.compress(path.read_bytes(), 9, mtime=0)),
        "latency_us": latency.median_us,
        "p95_us": latency.p95_us,
        "noise": latency.noise,
        "memory": latency.memory,
    }
