"""Every reader, given damaged and hostile files and wild command lines: 10,000 each.

What is given is decided by the seed. An answer must be right, a refusal in our own words, and
nothing may be written beside; whatever else happens ends the run with an error. See
tests/fuzz_readers.py. A .tflite or .keras file with other weights in it and a fitting checksum is
another model, and answered as such.
"""

from benchmarks.runner.results import table
from tests.fuzzing.fuzz_readers import READERS, asked

INPUTS, PARTS = 10_000, 20


def plan(done, seeds, quick):
    parts = 1 if quick else PARTS
    return [({"reader": reader, "part": part}, 0) for part in range(parts) for reader in READERS]


def run(cell, seed, quick):
    count = 4 if quick else INPUTS // PARTS
    first = cell["part"] * count
    return {"inputs": count, "answered": asked(cell["reader"], range(first, first + count))}


def report(done):
    rows = []
    for reader in READERS:
        inputs = sum(done.values("inputs", reader=reader))
        answered = sum(done.values("answered", reader=reader))
        rows.append([reader, f"{inputs:,}", f"{inputs - answered:,}", f"{answered:,}", 0])
    header = ["reader", "inputs", "refused", "answered, rightly", "anything else"]
    return table(header, rows)
