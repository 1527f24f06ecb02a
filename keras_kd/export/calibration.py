"""The samples that tell a full-integer model which values its layers see."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from keras_kd.litert import signature
from keras_kd.litert.interpreter import check_shapes


def samples(data: Any, inputs: signature.Signature, limit: int) -> dict[str, np.ndarray]:
    """Takes the first samples of some data, as the inputs of a model.

    Args:
        data: A `tf.data.Dataset` of batches, or arrays. In both a tuple is `(x, ...)`, of which x
            counts; several inputs are a list or a dictionary.
        inputs: The inputs of the model.
        limit: How many samples to take at most.

    Returns:
        An array of at most `limit` samples for each input, by its name.

    Raises:
        ValueError: If the data is missing, empty, of another shape or has values that are not
            finite.
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
    for x in _batches(data):
        arrays = _named(x, inputs)
        check_shapes(arrays, shapes)
        _check_finite(arrays, count)
        parts.append({name: array[: limit - count] for name, array in arrays.items()})
        count += len(next(iter(parts[-1].values())))
        if count >= limit:
            break
    if not count:
        raise ValueError(
            "Expected calibration data of at least one sample. Received: no sample at all. Check "
            "that the data set is not empty or used up."
        )
    return {
        name: np.concatenate([part[name] for part in parts]).astype(spec.dtype.as_numpy_dtype)
        for name, spec in inputs.specs.items()
    }


def raw(
    samples: Mapping[str, np.ndarray], normalized: Mapping[str, Any], io_dtype: str
) -> dict[str, np.ndarray]:
    """Returns samples as they were before they were normalised.

    Where a file takes bytes, one sample has the least and the greatest byte, so that each byte
    stands for itself: the scale is 1.

    Args:
        samples: Samples such as the model takes, by input.
        normalized: How they were normalised, by input.
        io_dtype: What the file takes.
    """
    samples = dict(samples)
    for name, normalization in normalized.items():
        values = normalization.undo(samples[name])
        if io_dtype in ("int8", "uint8"):
            values = np.concatenate([values, values[:1]])
            values[-1].flat[0], values[-1].flat[-1] = 0, 255
        samples[name] = values
    rows = max(map(len, samples.values()))
    return {name: array[np.arange(rows) % len(array)] for name, array in samples.items()}


def made_up(inputs: signature.Signature, count: int = 8) -> dict[str, np.ndarray]:
    """Makes samples up: reals in [0, 1), and integers that are 0, which is a token of any model."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, spec in inputs.specs.items():
        shape = (count, *(size or 1 for size in spec.shape[1:]))
        dtype = spec.dtype.as_numpy_dtype
        real = spec.dtype.is_floating
        arrays[name] = rng.random(shape).astype(dtype) if real else np.zeros(shape, dtype)
    return arrays


def batches_of(arrays: Mapping[str, np.ndarray], size: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields the samples in full batches; the first ones come again to fill the last."""
    count = len(next(iter(arrays.values())))
    for start in range(0, count, size):
        rows = np.arange(start, start + size) % count
        yield {name: array[rows] for name, array in arrays.items()}


def _batches(data: Any) -> Iterator[Any]:
    """Yields the x of each batch; arrays are one batch."""
    for batch in data if isinstance(data, tf.data.Dataset) else [data]:
        yield signature.unpack(batch)[0]


def _named(x: Any, inputs: signature.Signature) -> dict[str, np.ndarray]:
    given = signature.by_name(tree.map_structure(np.asarray, x), inputs.names)
    missing = [name for name in inputs.names if name not in given]
    if missing:
        raise ValueError(
            f"Expected calibration data for the inputs {list(inputs.names)}. Received: "
            f"{list(given)}. Give a dictionary that has {missing}."
        )
    return {name: given[name] for name in inputs.names}


def _check_finite(arrays: Mapping[str, np.ndarray], start: int) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"Expected finite calibration data. Received: NaN or infinity for input '{name}' "
                f"in the batch that begins at sample {start}. Remove these samples."
            )
