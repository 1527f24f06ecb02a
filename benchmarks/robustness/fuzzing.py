"""Damaged and hostile files and random command lines for every reader, 10,000 inputs each.

The seed determines the inputs. A reader must give the correct result or a readable error, and
create no other files; anything else stops the run. See tests/fuzzing/fuzz_readers.py. A .tflite or
.keras file with other weights and a matching checksum is another model and accepted as one.
"""

from benchmarks.runner.results import table
from tests.fuzzing.fuzz_readers import READERS, count_accepted

INPUTS, PARTS = 10_000, 20


def plan(done, seeds, quick):
    parts = 1 if quick else PARTS
    return [({"reader": reader, "part": part}, 0) for part in range(parts) for reader in READERS]


def run(cell, seed, quick):
    count = 4 if quick else INPUTS // PARTS
    first = cell["part"] * count
    return {
        "inputs": count,
        "answered": count_accepted(cell["reader"], range(first, first + count)),
    }


def report(done):
    rows = []
    for reader in READERS:
        inputs = sum(done.values("inputs", reader=reader))
        accepted = sum(done.values("answered", reader=reader))
        rows.append([reader, f"{inputs:,}", f"{inputs - accepted:,}", f"{accepted:,}", 0])
    header = ["reader", "inputs", "rejected", "accepted, correct result", "anything else"]
    return table(header, rows)
