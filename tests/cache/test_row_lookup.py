"""Rows of a joined data set: read by key, and checked now and then."""

import numpy as np

from keras_kd.cache.manifest import Manifest
from keras_kd.cache.reader import Reader
from keras_kd.cache.row_lookup import RowLookup


def test_inputs_are_checked_when_a_sample_first_comes_and_in_one_batch_of_sixteen(whole):
    reader = Reader(whole, Manifest.read(whole))
    lookup, keys = RowLookup(reader), np.array([5, 3])
    views, checks = np.zeros(2, int), []
    for _ in range(32):
        values, must_check = lookup.take(keys, views)
        checks.append(must_check)
        if must_check:
            assert lookup.check(keys, views, reader.digests.take(keys))
    assert [i for i, checked in enumerate(checks) if checked] == [0, 15, 31]
    np.testing.assert_array_equal(values, next(iter(reader.values.values()))[keys])
