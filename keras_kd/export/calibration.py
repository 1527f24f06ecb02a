"""Samples from which the converter determines the ranges of activations."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from keras import tree

from keras_kd.litert import signature
from keras_kd.litert.interpreter import check_shapes
from keras_kd.training.batches import as_batches, unpack_x_y


def take_samples(data: Any, inputs: signature.Signature, limit: int) -> dict[str, np.ndarray]:
    """Return the first samples of a data set as inputs of a model.

    Returns:
        An array of at most `limit` samples for each input, by name.

    Raises:
        ValueError: If the data is missing, empty, of another shape, or not finite.
    """
    if data is None:
        raise ValueError(
            "Expected calibration data, which int8 and int16x8 need. Received: calibration=None. "
            "Pass a few hundred training samples: a `tf.data.Dataset` of batches, or an array."
        )
    if limit < 1:
        raise ValueError(
            f"Expected calibration_samples of at least 1. Received: {limit}. A few hundred are "
            "enough."
        )
    shapes = {name: tuple(spec.shape) for name, spec in inputs.specs.items()}
    parts, count = [], 0
    for batch in as_batches(data, "Calibration", inputs=len(inputs.names), again=True):
        x = tree.map_structure(np.asarray, unpack_x_y(batch)[0])
        arrays = signature.select_named(x, inputs.names, "calibration data for the inputs")
        check_shapes(arrays, shapes)
        _check_finite(arrays, count)
        parts.append({name: array[: limit - count] for name, array in arrays.items()})
        count += len(next(iter(parts[-1].values())))
        if count >= limit:
            break
    if not count:
        raise ValueError(
            "Expected calibration data of at least one sample. Received: no samples. Check that "
            "the data set is not empty or exhausted."
        )
    _check_sizes(parts)
    return {
        name: np.concatenate([part[name] for part in parts]).astype(spec.dtype.as_numpy_dtype)
        for name, spec in inputs.specs.items()
    }


def denormalize(
    samples: Mapping[str, np.ndarray], normalization: Mapping[str, Any], io_dtype: str
) -> dict[str, np.ndarray]:
    """Return the raw inputs for samples of a model.

    For a file with 8-bit inputs, one added sample contains 0 and 255, so that the scale of the
    input is 1 and each byte represents itself.
    """
    samples = dict(samples)
    for name, pair in normalization.items():
        values = pair.undo(samples[name])
        if io_dtype in ("int8", "uint8"):
            values = np.concatenate([values, values[:1]])
            values[-1].flat[0], values[-1].flat[-1] = 0, 255
        samples[name] = values
    rows = max(map(len, samples.values()))
    return {name: array[np.arange(rows) % len(array)] for name, array in samples.items()}


def full_batches(arrays: Mapping[str, np.ndarray], size: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield full batches; the first samples are repeated to fill the last one."""
    count = len(next(iter(arrays.values())))
    for start in range(0, count, size):
        rows = np.arange(start, start + size) % count
        yield {name: array[rows] for name, array in arrays.items()}


def _check_sizes(parts: Sequence[Mapping[str, np.ndarray]]) -> None:
    for name in parts[0]:
        shapes = list(dict.fromkeys(part[name].shape[1:] for part in parts))
        if len(shapes) > 1:
            raise ValueError(
                f"Expected calibration samples of one size. Received: samples of the shapes "
                f"{shapes} for input '{name}'. Pad or resize them to one, which the application "
                "uses too."
            )


def _check_finite(arrays: Mapping[str, np.ndarray], start: int) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"Expected finite calibration data. Received: NaN or infinity for input '{name}' "
                f"in the batch that begins at sample {start}. Remove these samples."
            )
