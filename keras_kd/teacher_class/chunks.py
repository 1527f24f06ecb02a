"""How a teacher's representation is cut: which of its units each student mimics."""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_kd.teacher_class.representation import Representation

SPLITS = ("contiguous", "correlated")


def chunks_of(
    representation: Representation, chunks: Any, n: int | None, split: str, data: Any
) -> list[list[int]]:
    """The units of each chunk of a representation; the arguments are those of `TeacherClass`.

    Raises:
        ValueError: When the chunks do not add up, or a split by correlation has no data.
    """
    if split not in SPLITS:
        raise ValueError(f"TeacherClass: `split` must be one of {SPLITS}. Received: {split!r}")
    if split == "contiguous":
        return chunk_units(representation.units, chunks, n)
    if data is None:
        raise ValueError(
            "TeacherClass: split='correlated' looks at the teacher's units on samples; pass some "
            "as `data`. Received: data=None"
        )
    return chunk_units(representation.units, chunks, n, representation.correlation(data))


def chunk_units(
    units: int,
    chunks: Sequence[Any] | None,
    n: int | None,
    correlation: np.ndarray | None = None,
) -> list[list[int]]:
    """The units of each chunk.

    Args:
        units: How many units (or channels) the representation has.
        chunks: Their sizes, or lists of unit indices; `None` for `n` of equal size, the first ones
            greater by one where it does not divide.
        n: How many chunks.
        correlation: (units, units), for chunks of correlated units; `None` for chunks in order.

    Returns:
        A list of unit indices for each chunk.

    Raises:
        ValueError: When the chunks do not add up to the representation.
    """
    if chunks is None:
        sizes = _equal_sizes(units, n)
    else:
        sizes = whole_numbers(chunks)
        listed = None if sizes else _lists(chunks)
        if n is not None and len(chunks) != n:
            raise ValueError(
                f"TeacherClass: there must be a chunk for each of the {n} students. "
                f"Received: chunks={chunks!r}, which are {len(chunks)}"
            )
        if listed:
            return _listed_units(units, listed, correlation is not None)
    if sum(sizes) != units or min(sizes) < 1:
        raise ValueError(
            f"TeacherClass: the sizes of the chunks must be at least 1 and add up to the {units} "
            f"units of the teacher's layer. Received: chunks={sizes}, which add up to {sum(sizes)}"
        )
    order = np.arange(units)
    if correlation is not None:
        return _correlated(np.abs(correlation), sizes)
    return [part.tolist() for part in np.split(order, np.cumsum(sizes)[:-1])]


def _equal_sizes(units: int, n: int | None) -> list[int]:
    if n is None:
        raise ValueError(
            "TeacherClass: how many students there are is not known. Pass `n`, or `chunks`."
        )
    if not isinstance(n, numbers.Integral) or not 1 <= n <= units:
        raise ValueError(
            f"TeacherClass: `n` must be from 1 to {units}, the number of units of the teacher's "
            f"layer. Received: n={n!r}"
        )
    return [units // n + (i < units % n) for i in range(n)]


def whole_numbers(given: Any) -> list[int] | None:
    """A list, tuple or array of whole numbers as a list of ints; `None` where it is none."""
    if isinstance(given, str) or not isinstance(given, (Sequence, np.ndarray)):
        return None
    if not all(isinstance(number, numbers.Integral) for number in given):
        return None
    return [int(number) for number in given]


def _lists(chunks: Any) -> list[list[int]]:
    """Chunks that list their units.

    Raises:
        ValueError: When they are something else.
    """
    several = isinstance(chunks, (Sequence, np.ndarray)) and not isinstance(chunks, str)
    found = [whole_numbers(chunk) for chunk in chunks] if several else []
    if not found or None in found:
        raise ValueError(
            "TeacherClass: `chunks` must be a list of sizes, or a list of lists of unit indices. "
            f"Received: chunks={chunks!r}"
        )
    return found


def _listed_units(units: int, found: list[list[int]], correlated: bool) -> list[list[int]]:
    if correlated:
        raise ValueError(
            "TeacherClass: chunks that list their units leave nothing to split. Pass their sizes, "
            "or split='contiguous'. Received: split='correlated'"
        )
    flat = [unit for chunk in found for unit in chunk]
    if sorted(flat) != list(range(units)) or not all(found):
        missing = sorted(set(range(units)) - set(flat))[:5]
        extra = sorted({u for u in flat if flat.count(u) > 1 or not 0 <= u < units})[:5]
        raise ValueError(
            f"TeacherClass: each of the units 0 to {units - 1} of the teacher's layer must be in "
            f"exactly one chunk, and none empty. Received: chunks of sizes "
            f"{[len(chunk) for chunk in found]}; missing {missing}, twice or unknown {extra}"
        )
    return found


def _correlated(strength: np.ndarray, sizes: Sequence[int]) -> list[list[int]]:
    """Greedy groups: each begins with the unit most bound to those left, and takes its nearest."""
    strength = np.nan_to_num(strength)
    left = np.ones(len(strength), bool)
    groups = []
    for size in sizes:
        bound = strength[:, left].sum(axis=1)
        group = []
        for _ in range(size):
            # argmax takes the first of equals, so that the groups are the same on every run.
            unit = int(np.argmax(np.where(left, bound, -np.inf)))
            bound = strength[:, unit] if not group else bound + strength[:, unit]
            group.append(unit)
            left[unit] = False
        groups.append(sorted(group))
    return groups
