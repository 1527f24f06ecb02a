"""Try all formats on a model and keep the best one within the accuracy limit."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_kd.export import calibration
from keras_kd.export.benchmark import compare_latency
from keras_kd.export.options import QUANTIZATIONS
from keras_kd.export.tflite import to_tflite
from keras_kd.export.tflite_model import Attempt, TFLiteModel
from keras_kd.export.verification import VerificationError
from keras_kd.files import atomic_write, require_writable
from keras_kd.litert.signature import infer_signature

_OBJECTIVES = ("latency", "size")


def best(
    model: keras.Model,
    data: Any,
    path: str | Path = "model.tflite",
    *,
    max_drop: float = 0.5,
    objective: str = "latency",
    formats: Sequence[str] = QUANTIZATIONS,
    verification: Any = None,
    tolerance: float = 0.1,
    runs: int = 200,
    verbose: int = 0,
    **options: Any,
) -> TFLiteModel:
    """Try all formats and keep the fastest or smallest file within the accuracy limit.

    Each format is converted and verified as in `to_tflite`. Formats that fail, or lose too much
    accuracy, are dropped and the reason is recorded. The others are timed in alternation, so that a
    temporarily slow machine affects all of them. Among files whose latencies differ by less than
    the noise of the measurement, the smallest one is kept.

    Args:
        model: A built `keras.Model`.
        data: Representative samples for calibration and verification: a `tf.data.Dataset` of
            batches, or arrays; `(x, y)` with labels y.
        path: Where to write, ending in `.tflite`, in an existing folder. Defaults to
            `"model.tflite"`.
        max_drop: Percentage points of accuracy that the file may lose. Defaults to 0.5.
        objective: `"latency"`, on one thread of this machine, or `"size"`, in bytes. Defaults to
            `"latency"`.
        formats: Formats to try. Defaults to all of `kd.export.QUANTIZATIONS`.
        verification: Samples to verify with instead of `data`, such as a validation set. Defaults
            to `None`.
        tolerance: Relative difference (see `Score`) allowed for an output without labels, and for
            numbers (regression), which have no accuracy. Defaults to 0.1.
        runs: Number of timed runs per file. Defaults to 200.
        verbose: 1 to print a line per format, 0 for no output. Defaults to 0.
        **options: Other arguments of `to_tflite`, such as `io_dtype` or `verification_samples`. A
            format that does not support one is dropped.

    Returns:
        The file; its `tried` contains the result of each format.

    Raises:
        TypeError: If `model` is not a `keras.Model`.
        ValueError: If an argument is invalid, or the data is missing or does not match the model.
        RuntimeError: If no format succeeds within the accuracy limit.
        OSError: If the folder does not exist or is not writable.

    Example:
        >>> tflite = best(model, train, "model.tflite", verification=test, objective="size")
        >>> tflite.quantization, tflite.tried[0].reason
        ('int8', '110.2 kB, more than the 32.1 kB of int8')
    """
    _check(max_drop, objective, formats)
    # Reject invalid data here, not once per format.
    inputs = infer_signature(model, options.get("input_signature"))
    calibration.take_samples(data, inputs, 1)
    require_writable(Path(path), ".tflite")
    options |= {"verification": verification, "max_drop": max_drop, "tolerance": tolerance}
    with atomic_write(Path(path)) as temporary, tempfile.TemporaryDirectory() as folder:
        files, tried = {}, {}
        for quantization in formats:
            if verbose:
                print(f"Trying {quantization}.", flush=True)
            file = Path(folder) / f"{quantization}.tflite"
            try:
                files[quantization] = to_tflite(model, file, quantization, data, **options)
                tried[quantization] = _succeeded(files[quantization])
            except (ValueError, RuntimeError, ModuleNotFoundError) as error:
                tried[quantization] = _failed(quantization, error)
        if objective == "latency":
            _measure_latency(files, tried, runs)
        kept = _select(files, tried, objective)
        temporary.write_bytes(files[kept].path.read_bytes())
    return dataclasses.replace(files[kept], path=Path(path), tried=tuple(tried.values()))


def _check(max_drop: float, objective: str, formats: Sequence[str]) -> None:
    if objective not in _OBJECTIVES:
        raise ValueError(
            f"Expected an objective of {_OBJECTIVES}. Received: {objective!r}. Choose one."
        )
    if not max_drop >= 0:
        raise ValueError(
            f"Expected max_drop of at least 0 points of accuracy. Received: {max_drop}. Use 0.5."
        )
    unknown = [name for name in formats if name not in QUANTIZATIONS]
    if unknown or not formats:
        raise ValueError(
            f"Expected formats of {QUANTIZATIONS}. Received: {list(formats)}. Name at least one, "
            "and only these."
        )


def _succeeded(file: TFLiteModel) -> Attempt:
    return Attempt(file.quantization, size=file.size, verification=file.verification)


def _failed(quantization: str, error: Exception) -> Attempt:
    """Return a failed attempt; a rejected file has a size and scores."""
    if not isinstance(error, VerificationError):
        return Attempt(quantization, str(error))
    size = error.path.stat().st_size
    return Attempt(quantization, error.reason, size, verification=error.verification)


def _measure_latency(files: dict[str, TFLiteModel], tried: dict[str, Attempt], runs: int) -> None:
    """Time the files; drop those that LiteRT cannot run (with flex ops)."""
    for quantization, latency in compare_latency(files, runs).items():
        if isinstance(latency, RuntimeError):
            del files[quantization]
            tried[quantization] = dataclasses.replace(tried[quantization], reason=str(latency))
        else:
            tried[quantization] = dataclasses.replace(
                tried[quantization], latency_us=latency.median_us, noise=latency.noise
            )


def _select(files: dict[str, TFLiteModel], tried: dict[str, Attempt], objective: str) -> str:
    """Return the format to keep, and set the reasons of the others.

    Raises:
        RuntimeError: If no file is left.
    """
    if not files:
        reasons = "; ".join(f"{name}: {attempt.reason}" for name, attempt in tried.items())
        raise RuntimeError(
            f"Expected a format within max_drop and tolerance. Received: none ({reasons}). Raise "
            "max_drop or tolerance, or use quantization-aware training: "
            "`kd.compression.quantize_aware`."
        )
    candidates = [tried[name] for name in files]
    if objective == "latency":
        fastest = min(candidates, key=lambda attempt: attempt.latency_us)
        candidates = [attempt for attempt in candidates if _is_as_fast(attempt, fastest)]
    kept = min(candidates, key=lambda attempt: attempt.size)
    for name in set(files) - {kept.quantization}:
        tried[name] = dataclasses.replace(
            tried[name], reason=_reason(tried[name], kept, candidates, objective)
        )
    return kept.quantization


def _is_as_fast(attempt: Attempt, fastest: Attempt) -> bool:
    noise = fastest.noise * fastest.latency_us + attempt.noise * attempt.latency_us
    return attempt.latency_us - fastest.latency_us <= noise


def _reason(attempt: Attempt, kept: Attempt, candidates: Sequence[Attempt], objective: str) -> str:
    """Return why an attempt was not kept."""
    size = (
        f"{attempt.size / 1000:.1f} kB, more than the {kept.size / 1000:.1f} kB of "
        f"{kept.quantization}"
    )
    if objective == "size":
        return size
    if attempt in candidates:
        return f"as fast as {kept.quantization} within the noise, and {size}"
    return (
        f"{attempt.latency_us:.1f} µs, slower than the {kept.latency_us:.1f} µs of "
        f"{kept.quantization}"
    )
