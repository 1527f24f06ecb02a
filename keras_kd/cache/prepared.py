"""The preprocessing of teachers, compared on the samples of a data set.

A cache stores two numbers for each sample and each teacher with a preprocessing: sums, with fixed
weights, of the integers and of the floats that the preprocessing returns. The sums of floats are
compared with a tolerance, because rounding depends on the batch and the device.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops, tree

from keras_kd.cache.array_batches import hash_strings
from keras_kd.cache.elements import split_element
from keras_kd.cache.schema import StoredTeacher
from keras_kd.models.user_warnings import warn_user
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.knowledge import (
    PREPARED,
    CacheError,
    JoinedInputs,
    joined_spec,
    locate_teacher,
)
from keras_kd.training.batches import BATCH_SIZE
from keras_kd.training.tf_data import is_dataset

#: Samples whose numbers must not depend on their batch.
_SAMPLES = 8
#: The tolerance in units of the last place of the sum of all magnitudes.
_UNITS = 8
#: Integers below it have an exact float64.
_EXACT = 2**52
_DEPENDS = (
    "the cache has nothing to compare: it is one of an earlier version of keras_kd, or what the "
    "preprocessing returns for a sample depends on its batch"
)


class PreparedNumbers(NamedTuple):
    """The numbers of preprocessed samples.

    Attributes:
        values: float64 (samples, 2).
        rounding: float64 (samples,), differences of the second number that may be rounding.
    """

    values: np.ndarray
    rounding: np.ndarray

    def differ(self, stored: np.ndarray) -> np.ndarray:
        """Return for each sample whether its numbers are others than the stored ones."""
        off = np.abs(self.values - stored)
        return (off[:, 0] > 0) | (off[:, 1] > self.rounding)


def prepare_numbers(teacher: BaseTeacher, x: Any) -> PreparedNumbers:
    """Return the numbers of a batch after a teacher's preprocessing."""
    x = tree.map_structure(ops.convert_to_tensor, x)
    size = len(tree.flatten(x)[0])
    prepared = map(ops.convert_to_numpy, tree.flatten(teacher.prepare(x)))
    exact, total, rounding = np.zeros(size, "int64"), np.zeros(size), np.zeros(size)
    for i, part in enumerate(prepared):
        rows = part if part.ndim and len(part) == size else np.repeat(part[np.newaxis], size, 0)
        sums = _sums(rows.reshape(size, -1), np.random.default_rng(i))
        exact += sums[0] + zlib.crc32(f"{i} {part.dtype} {part.ndim}".encode())
        total, rounding = total + sums[1], rounding + sums[2]
    return PreparedNumbers(np.stack([exact % _EXACT, total], axis=1), rounding)


def is_comparable(teacher: BaseTeacher, x: Any) -> bool:
    """Return whether the numbers of a sample do not depend on its batch, by those of some."""
    x = tree.map_structure(lambda part: np.asarray(part)[:_SAMPLES], x)
    together = prepare_numbers(teacher, x)
    alone = prepare_numbers(teacher, tree.map_structure(lambda part: part[:1], x))
    return not alone.differ(together.values[:1]).any()


def check_rows(
    teachers: Iterable[BaseTeacher],
    stored: Iterable[StoredTeacher],
    x: Any,
    read: Callable[[str], np.ndarray],
    owner: str,
) -> None:
    """Compare the preprocessing of teachers with the rows of a cache for a batch.

    Args:
        teachers: The teachers.
        stored: Their descriptions in the cache.
        x: A batch.
        read: Returns its rows of a file.
        owner: The cache, for messages.

    Raises:
        CacheError: If it returns other values.
    """
    for teacher, found in zip(teachers, stored, strict=True):
        if not teacher.has_preprocessing:
            continue
        if found.prepared is None:
            _warn(teacher, _DEPENDS)
            continue
        differ = prepare_numbers(teacher, x).differ(read(found.prepared))
        if differ.any():
            raise CacheError(
                f"{owner}: {_changed(teacher, differ)}. Choose another path, or delete the folder "
                "to build a new cache."
            )


def compare_preprocessing(teachers: Sequence[BaseTeacher], data: Any) -> bool:
    """Compare the preprocessing of live teachers with that of a cache, on the first joined samples.

    Args:
        teachers: The teachers; only live ones with a preprocessing are compared.
        data: What a cache joined teacher outputs to, or data without them.

    Returns:
        Whether there are joined data.

    Raises:
        CacheError: If a preprocessing returns other values, or a teacher is another one.
    """
    spec = joined_spec(data)
    live = [one for one in teachers if one.has_preprocessing and not one.is_cached]
    if spec is None or not live:
        return spec is not None
    places = [(one, locate_teacher(one, spec.teacher_outputs, spec.x)) for one in live]
    comparable = [(one, key) for one, key in places if PREPARED in spec.teacher_outputs[key]]
    for teacher in live:
        if teacher not in [one for one, _ in comparable]:
            _warn(teacher, _DEPENDS)
    batch = _first_batch(data) if comparable else None
    for teacher, key in comparable if batch is not None else ():
        stored = ops.convert_to_numpy(batch.teacher_outputs[key][PREPARED])
        differ = prepare_numbers(teacher, batch.x).differ(stored)
        if differ.any():
            raise CacheError(
                f"KnowledgeCache: {_changed(teacher, differ)}. Build the cache again, or pass "
                "`cache.teachers` to train on the stored outputs."
            )
    return True


def warn_of_generators(teachers: Iterable[BaseTeacher]) -> None:
    """Warn of live teachers whose preprocessing was not compared on the data."""
    for teacher in teachers:
        if teacher.has_preprocessing and not teacher.is_cached:
            _warn(teacher, "the data are a generator, whose batches can be read once")


def _first_batch(data: Any) -> JoinedInputs | None:
    """Return the first batch of joined data, `None` if there is none."""
    if isinstance(data, JoinedInputs):
        return tree.map_structure(lambda part: part[:BATCH_SIZE], data)
    element = next(iter(data.take(1) if is_dataset(data) else data), None)
    return None if element is None else split_element(element)[0]


def _changed(teacher: BaseTeacher, differ: np.ndarray) -> str:
    return (
        f"teacher '{teacher.name}' is not the one that the cache was built with: its preprocessing "
        f"returns other values for {int(differ.sum())} of the first {len(differ)} samples of the "
        "data set"
    )


def _warn(teacher: BaseTeacher, reason: str) -> None:
    warn_user(
        f"The preprocessing of teacher '{teacher.name}' is compared with that of the cache on "
        f"made-up samples only: {reason}."
    )


def _sums(rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Any, Any]:
    """Return the weighted sums of integers and of floats, and the rounding of the latter.

    Zeros do not count, so samples may be padded to the longest one of their batch.
    """
    weights = rng.uniform(-1, 1, rows.shape[1])
    integers = (weights * 2**31).astype("int64")
    if rows.dtype.kind in "OSU":
        rows = hash_strings(rows)
    if rows.dtype.kind in "biu":
        return (rows.astype("int64") * integers).sum(axis=1), 0.0, 0.0
    # NumPy does not know the type bfloat16.
    unit = 2.0**-7 if rows.dtype.name == "bfloat16" else float(np.finfo(rows.dtype).eps)
    rows = rows.astype("float64")
    kinds = np.isnan(rows) + 2 * np.isposinf(rows) + 3 * np.isneginf(rows)
    rows = np.where(kinds, 0.0, rows)
    rounding = _UNITS * unit * (np.abs(rows) @ np.abs(weights))
    return (kinds * integers).sum(axis=1), rows @ weights, rounding
