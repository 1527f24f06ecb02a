"""A few of the inputs that `python -m benchmarks run fuzzing` passes to each reader."""

import pytest

from tests.fuzzing.fuzz_readers import READERS, count_accepted

COUNTS = {"knowledge cache": 60, "checkpoint": 60, "command line": 150, ".keras": 30, ".tflite": 4}


@pytest.mark.parametrize("reader", READERS)
def test_damaged_inputs_are_read_correctly_or_rejected_with_a_readable_error(reader):
    assert count_accepted(reader, range(COUNTS[reader])) < COUNTS[reader]
