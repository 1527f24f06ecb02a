"""Chunks: their units by size, by list and by correlation."""

import numpy as np
import pytest

from keras_kd.teacher_class.chunks import as_integers, chunk_units, make_chunks
from keras_kd.teacher_class.representation import make_representation
from tests.teacher_class.models import PERMUTED, dense_teacher, samples


@pytest.fixture(scope="module")
def representation():
    return make_representation(dense_teacher(), "features")


@pytest.mark.parametrize(
    ("chunks", "n", "expected"),
    [
        (None, 3, [[0, 1, 2], [3, 4, 5], [6, 7]]),
        ([5, 3], None, [[0, 1, 2, 3, 4], [5, 6, 7]]),
        ((np.int32(7), 1), None, [[0, 1, 2, 3, 4, 5, 6], [7]]),
        (np.array([5, 3]), 2, [[0, 1, 2, 3, 4], [5, 6, 7]]),
        (np.arange(8).reshape(2, 4), None, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (PERMUTED, 3, PERMUTED),
    ],
)
def test_units_of_chunks(chunks, n, expected):
    found = chunk_units(8, chunks, n)
    assert found == expected
    assert all(type(unit) is int for chunk in found for unit in chunk)


@pytest.mark.parametrize(
    ("chunks", "n", "sentence"),
    [
        ([4, 3], None, r"add up to the 8 units.*\[4, 3\], which add up to 7"),
        ([8, 0], None, "must be at least 1"),
        ([[0, 1], [1, 2]], None, r"exactly one chunk.*missing \[3, .*repeated.*\[1\]"),
        ([[*range(8)], []], None, "no chunk may be empty"),
        ([[0, 1], 6], None, "list of sizes, or a list of lists"),
        ([2, 2, 4], 2, "one chunk for each of the 2 students"),
        (4, None, "list of sizes, or a list of lists.*chunks=4"),
        ("44", None, "list of sizes, or a list of lists.*chunks='44'"),
        ([4.0, 4.0], None, "list of sizes, or a list of lists"),
        ([[0.5, *range(1, 8)]], None, "list of sizes, or a list of lists"),
        (None, None, "number of students is unknown. Pass `n`"),
        (None, 9, "`n` must be from 1 to 8"),
        (None, 2.5, "`n` must be from 1 to 8.*n=2.5"),
        (None, "2", "`n` must be from 1 to 8.*n='2'"),
    ],
)
def test_chunks_that_do_not_add_up_are_rejected(chunks, n, sentence):
    with pytest.raises(ValueError, match=sentence):
        chunk_units(8, chunks, n)


def test_correlated_units_share_a_chunk():
    groups = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    correlation = np.where(groups == groups[:, None], -0.9, 0.1)
    assert sorted(chunk_units(8, [3, 3, 2], None, correlation)) == [[0, 3, 6], [1, 4, 7], [2, 5]]


def test_a_constant_unit_gets_a_chunk_too():
    correlation = np.eye(3)
    correlation[1] = correlation[:, 1] = np.nan
    assert sorted(unit for chunk in chunk_units(3, None, 2, correlation) for unit in chunk) == [
        *range(3)
    ]


def test_the_split_decides_whether_data_are_needed(representation):
    assert make_chunks(representation, None, 2, "contiguous", None) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    found = make_chunks(representation, [5, 3], None, "correlated", samples())
    assert found == chunk_units(8, [5, 3], None, representation.correlation(samples()))
    with pytest.raises(ValueError, match="Pass them as `data`. Received: data=None"):
        make_chunks(representation, None, 2, "correlated", None)
    with pytest.raises(ValueError, match="split already.*split='correlated'"):
        make_chunks(representation, PERMUTED, None, "correlated", samples())
    with pytest.raises(ValueError, match="`split` must be one of"):
        make_chunks(representation, None, 2, "random", None)


def test_only_integers_are_integers():
    assert as_integers(np.array([1, 2])) == [1, 2]
    assert [as_integers(value) for value in ("12", [1.0], 3, [[1]])] == [None] * 4


@pytest.mark.parametrize(
    ("sizes", "chunks"),
    [
        ([2, 2], [[0, 3], [1, 2]]),
        ([1, 3], [[0], [1, 2, 3]]),
        ([3, 1], [[0, 2, 3], [1]]),
        ([1, 1, 2], [[0], [1], [2, 3]]),
    ],
)
def test_each_chunk_of_components_has_about_the_same_variance(sizes, chunks):
    assert chunk_units(4, sizes, None, variances=np.array([8.0, 4.0, 2.0, 1.0])) == chunks


def test_listed_units_are_not_split_again():
    with pytest.raises(ValueError, match="split already.*Received: split='pca'"):
        chunk_units(8, PERMUTED, None, variances=np.ones(8))
