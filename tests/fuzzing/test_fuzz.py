"""A few of the inputs that `python -m benchmarks run fuzzing` gives to readers by thousands."""

import pytest

from tests.fuzzing.fuzz_readers import READERS, asked

COUNTS = {"knowledge cache": 60, "checkpoint": 60, "command line": 150, ".keras": 30, ".tflite": 4}


@pytest.mark.parametrize("reader", READERS)
def test_what_comes_from_elsewhere_is_answered_rightly_or_refused(reader):
    assert asked(reader, range(COUNTS[reader])) < COUNTS[reader]
