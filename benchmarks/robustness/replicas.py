"""Weights after training on several devices or processes, compared with one device.

50 steps of a student with 2,000 weights (SGD) on the digits in batches of 64, for each case: on one
device, on 2 and 4 logical devices of one processor (`MirroredStrategy`), and in 2 and 3 processes
(`MultiWorkerMirroredStrategy`). The result is the largest difference of any weight in any process.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.runner.results import table
from benchmarks.shared.processes import run_workers

CASES = {
    "soft targets": "soft targets",
    "hint": "soft targets and a hint with a projector",
    "two teachers": "two teachers, weighted by cross-entropy",
    "sample weights": "sample weights",
    "L2": "L2 regularization",
    "uneven last batch": "a last batch of 29 samples",
}
HOW = {
    "2 devices": (2, 1),
    "4 devices": (4, 1),
    "2 processes": (1, 2),
    "3 processes": (1, 3),
}
STEPS = 50


def plan(done, seeds, quick):
    ways = ["2 devices"] if quick else HOW
    return [({"how": how}, seed) for seed in range(seeds) for how in ways]


def run(cell, seed, quick):
    devices, workers = HOW[cell["how"]]
    cases = ["uneven last batch"] if quick else list(CASES)
    spec = {"cases": cases, "steps": 24 if quick else STEPS, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        run_workers([{**spec, "devices": 1, "path": f"{folder}/one"}])
        paths = [f"{folder}/{worker}" for worker in range(workers)]
        run_workers([{**spec, "devices": devices, "path": path} for path in paths])
        return {
            case: max(
                largest_difference(Path(f"{folder}/one {case}.npz"), Path(f"{path} {case}.npz"))
                for path in paths
            )
            for case in cases
        }


def largest_difference(one, other):
    with np.load(one) as first, np.load(other) as second:
        return max(float(np.abs(first[name] - second[name]).max()) for name in first.files)


def report(done):
    rows = []
    for case, title in CASES.items():
        differences = [
            [run["metrics"][case] for run in done.where(how=how) if case in run["metrics"]]
            for how in HOW
        ]
        rows.append([title, *(f"{max(values):.0e}" if values else "" for values in differences)])
    seeds = len({run["seed"] for run in done.runs})
    return table([f"largest difference, {seeds} seeds", *HOW], rows)
