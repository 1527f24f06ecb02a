"""Every format tried on one model, and the best kept that holds the accuracy."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_kd.export import calibration
from keras_kd.export.attempt import Attempt
from keras_kd.export.benchmark import side_by_side
from keras_kd.export.options import QUANTIZATIONS
from keras_kd.export.tflite import to_tflite
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.export.verification import VerificationError
from keras_kd.files import atomic_write, require_writable
from keras_kd.litert import signature

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
    """Tries all formats, and keeps the fastest or smallest file that holds the accuracy.

    Each format is converted, and verified as in `to_tflite`. What cannot be made, or loses too
    much, is dropped with its reason; nothing of it stays. The others are timed side by side, so
    that what slows the machine down for a while slows all of them. Of files whose times differ by
    less than the noise of the measurement, the smallest is taken.

    Args:
        model: A built `keras.Model`.
        data: Samples such as the model will see, to calibrate and to verify with: a
            `tf.data.Dataset` of batches, or arrays; `(x, y)` with labels y.
        path: Where to write, ending in `.tflite`, in a folder that exists. Defaults to
            `"model.tflite"`.
        max_drop: Points of accuracy that the file may lose against the model. Defaults to 0.5.
        objective: `"latency"`, on one thread of this machine, or `"size"`, in bytes. Defaults to
            `"latency"`.
        formats: Which to try. Defaults to all of `kd.export.QUANTIZATIONS`.
        verification: Samples to verify with in place of `data`, for example held out ones. Defaults
            to `None`.
        tolerance: Relative difference (see `Score`) that an output may have where there are no
            labels. Defaults to 0.1.
        runs: How many runs of each file to time. Defaults to 200.
        verbose: 1 for a line about each format, 0 for silence. Defaults to 0.
        **options: Other arguments of `to_tflite`, such as `io_dtype` or `verification_samples`. A
            format that cannot have one is dropped.

    Returns:
        The file; its `tried` says what became of each format.

    Raises:
        TypeError: If `model` is not a `keras.Model`.
        ValueError: If an argument is wrong, the data is missing or does not fit the model.
        RuntimeError: If no format holds the accuracy, or can be made at all.
        OSError: If the folder does not exist or cannot be written.

    Example:
        >>> tflite = best(model, train, "model.tflite", verification=test, objective="size")
        >>> tflite.quantization, tflite.tried[0].reason
        ('int8', '110.2 kB, more than the 32.1 kB of int8')
    """
    _check(max_drop, objective, formats)
    # Data that fits no format is refused once, not by each.
    inputs = signature.of_inputs(model, options.get("input_signature"))
    calibration.samples(data, inputs, 1)
    require_writable(Path(path), ".tflite")
    with atomic_write(Path(path)) as temporary, tempfile.TemporaryDirectory() as folder:
        files, tried = {}, {}
        for quantization in formats:
            if verbose:
                print(f"Trying {quantization}.", flush=True)
            file = Path(folder) / f"{quantization}.tflite"
            try:
                files[quantization] = to_tflite(
                    model,
                    file,
                    quantization,
                    data,
                    verification=verification,
                    max_drop=max_drop,
                    tolerance=tolerance,
                    **options,
                )
                tried[quantization] = _made(files[quantization])
            except (ValueError, RuntimeError, ModuleNotFoundError) as error:
                tried[quantization] = _dropped(quantization, error)
        if objective == "latency":
            _time(files, tried, runs)
        kept = _winner(files, tried, objective)
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


def _made(file: TFLiteModel) -> Attempt:
    return Attempt(file.quantization, size=file.size, verification=file.verification)


def _dropped(quantization: str, error: Exception) -> Attempt:
    """Returns the attempt that came to an error; of a rejected file there is still the score."""
    if not isinstance(error, VerificationError):
        return Attempt(quantization, str(error))
    size = error.path.stat().st_size
    return Attempt(quantization, error.reason, size, verification=error.verification)


def _time(files: dict[str, TFLiteModel], tried: dict[str, Attempt], runs: int) -> None:
    """Times the files; one that LiteRT cannot run (it has flex ops) is dropped."""
    for quantization, found in side_by_side(files, runs).items():
        if isinstance(found, RuntimeError):
            del files[quantization]
            tried[quantization] = dataclasses.replace(tried[quantization], reason=str(found))
        else:
            tried[quantization] = dataclasses.replace(
                tried[quantization], latency_us=found.median_us, noise=found.noise
            )


def _winner(files: dict[str, TFLiteModel], tried: dict[str, Attempt], objective: str) -> str:
    """Returns the format to keep, and gives the others the reason why they are not.

    Raises:
        RuntimeError: If there is none.
    """
    if not files:
        reasons = "; ".join(f"{name}: {attempt.reason}" for name, attempt in tried.items())
        raise RuntimeError(
            f"Expected a format that holds the accuracy. Received: none ({reasons}). Raise "
            "max_drop or tolerance, or train with the rounding: "
            "`kd.compression.quantize_aware`."
        )
    held = [tried[name] for name in files]
    if objective == "latency":
        fastest = min(held, key=lambda attempt: attempt.latency_us)
        held = [attempt for attempt in held if _as_fast(attempt, fastest)]
    kept = min(held, key=lambda attempt: attempt.size)
    for name in set(files) - {kept.quantization}:
        tried[name] = dataclasses.replace(
            tried[name], reason=_behind(tried[name], kept, held, objective)
        )
    return kept.quantization


def _as_fast(attempt: Attempt, fastest: Attempt) -> bool:
    noise = fastest.noise * fastest.latency_us + attempt.noise * attempt.latency_us
    return attempt.latency_us - fastest.latency_us <= noise


def _behind(attempt: Attempt, kept: Attempt, level: Sequence[Attempt], objective: str) -> str:
    size = (
        f"{attempt.size / 1000:.1f} kB, more than the {kept.size / 1000:.1f} kB of "
        f"{kept.quantization}"
    )
    if objective == "size":
        return size
    if attempt in level:
        return f"as fast as {kept.quantization} within the noise, and {size}"
    return (
        f"{attempt.latency_us:.1f} µs, slower than the {kept.latency_us:.1f} µs of "
        f"{kept.quantization}"
    )
