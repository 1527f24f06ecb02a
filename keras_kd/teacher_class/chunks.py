"""Split a teacher's representation into chunks: the units that each student mimics."""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_kd.teacher_class.representation import Representation

SPLITS = ("contiguous", "correlated", "pca")


def make_chunks(
    representation: Representation,
    chunks: Any,
    n: int | None,
    split: str,
    data: Any,
    variances: np.ndarray | None = None,
) -> list[list[int]]:
    """Return the units of each chunk of a representation; the arguments are `TeacherClass`'s.

    For `split="pca"` the units are components, of the given `variances`.

    Raises:
        ValueError: If the chunks do not add up, or `split="correlated"` has no data.
    """
    if split not in SPLITS:
        raise ValueError(f"TeacherClass: `split` must be one of {SPLITS}. Received: {split!r}")
    if split != "correlated":
        return chunk_units(representation.units, chunks, n, variances=variances)
    if data is None:
        raise ValueError(
            "TeacherClass: split='correlated' needs samples to compute the correlation of the "
            "teacher's units. Pass them as `data`. Received: data=None"
        )
    return chunk_units(representation.units, chunks, n, representation.correlation(data))


def chunk_units(
    units: int,
    chunks: Sequence[Any] | None,
    n: int | None,
    correlation: np.ndarray | None = None,
    variances: np.ndarray | None = None,
) -> list[list[int]]:
    """Return the units of each chunk.

    Args:
        units: Number of units of the representation.
        chunks: Sizes of the chunks, or lists of units, or `None`.
        n: Number of chunks.
        correlation: Correlation of the units, which groups them. Defaults to `None`.
        variances: Variances of the units, of which each chunk gets an equal share. Defaults to
            `None`.

    Raises:
        ValueError: If the chunks do not add up to the representation.
    """
    if chunks is None:
        sizes = _equal_sizes(units, n)
    else:
        sizes = as_integers(chunks)
        listed = None if sizes else _unit_lists(chunks)
        if n is not None and len(chunks) != n:
            raise ValueError(
                f"TeacherClass: there must be one chunk for each of the {n} students. "
                f"Received: chunks={chunks!r}, which are {len(chunks)}"
            )
        if listed:
            computed = {"correlated": correlation, "pca": variances}
            splits = [split for split, given in computed.items() if given is not None]
            return _require_partition(units, listed, *splits)
    if sum(sizes) != units or min(sizes) < 1:
        raise ValueError(
            f"TeacherClass: the sizes of the chunks must be at least 1 and add up to the {units} "
            f"units of the teacher's layer. Received: chunks={sizes}, which add up to {sum(sizes)}"
        )
    if correlation is not None:
        return _group_by_correlation(np.abs(correlation), sizes)
    if variances is not None:
        return _share_variance(variances, sizes)
    return [part.tolist() for part in np.split(np.arange(units), np.cumsum(sizes)[:-1])]


def _equal_sizes(units: int, n: int | None) -> list[int]:
    if n is None:
        raise ValueError("TeacherClass: the number of students is unknown. Pass `n` or `chunks`.")
    if not isinstance(n, numbers.Integral) or not 1 <= n <= units:
        raise ValueError(
            f"TeacherClass: `n` must be from 1 to {units}, the number of units of the teacher's "
            f"layer. Received: n={n!r}"
        )
    return [units // n + (i < units % n) for i in range(n)]


def as_integers(values: Any) -> list[int] | None:
    """Convert a list, tuple or array of integers to a list of ints; return `None` for others."""
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
        return None
    if not all(isinstance(number, numbers.Integral) for number in values):
        return None
    return [int(number) for number in values]


def _unit_lists(chunks: Any) -> list[list[int]]:
    several = isinstance(chunks, (Sequence, np.ndarray)) and not isinstance(chunks, str)
    listed = [as_integers(chunk) for chunk in chunks] if several else []
    if not listed or None in listed:
        raise ValueError(
            "TeacherClass: `chunks` must be a list of sizes, or a list of lists of unit indices. "
            f"Received: chunks={chunks!r}"
        )
    return listed


def _require_partition(
    units: int, listed: list[list[int]], split: str | None = None
) -> list[list[int]]:
    """Reject lists of units that do not hold every unit exactly once."""
    if split is not None:
        raise ValueError(
            "TeacherClass: `chunks` that list their units are split already. Pass their sizes, or "
            f"split='contiguous'. Received: split='{split}'"
        )
    flat = [unit for chunk in listed for unit in chunk]
    if sorted(flat) != list(range(units)) or not all(listed):
        missing = sorted(set(range(units)) - set(flat))[:5]
        extra = sorted({u for u in flat if flat.count(u) > 1 or not 0 <= u < units})[:5]
        raise ValueError(
            f"TeacherClass: each of the units 0 to {units - 1} of the teacher's layer must be in "
            f"exactly one chunk, and no chunk may be empty. Received: chunks of sizes "
            f"{[len(chunk) for chunk in listed]}; missing {missing}, repeated or unknown {extra}"
        )
    return listed


def _group_by_correlation(strength: np.ndarray, sizes: Sequence[int]) -> list[list[int]]:
    """Group greedily: start with the unit most correlated with the rest, add its nearest units."""
    strength = np.nan_to_num(strength)
    free = np.ones(len(strength), bool)
    groups = []
    for size in sizes:
        score = strength[:, free].sum(axis=1)
        group = []
        for _ in range(size):
            # argmax returns the first of equal values, so the groups are deterministic.
            unit = int(np.argmax(np.where(free, score, -np.inf)))
            score = strength[:, unit] if not group else score + strength[:, unit]
            group.append(unit)
            free[unit] = False
        groups.append(sorted(group))
    return groups


def _share_variance(variances: np.ndarray, sizes: Sequence[int]) -> list[list[int]]:
    """Group components so that each chunk, of its given size, has about the same variance.

    The variances decrease. The next one goes to the chunk with the least so far that is not full.
    """
    groups, totals = [[] for _ in sizes], np.zeros(len(sizes))
    for component, variance in enumerate(variances):
        full = [len(group) == size for group, size in zip(groups, sizes, strict=True)]
        chosen = int(np.argmin(np.where(full, np.inf, totals)))
        groups[chosen].append(component)
        totals[chosen] += variance
    return groups
