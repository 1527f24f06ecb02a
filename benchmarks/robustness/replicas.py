"""Whether several devices or processes give the weights of one, after 50 steps.

A student (2,000 weights, SGD) on real digits in batches of 64, for each of the cases: on one
device, on 2 and 4 logical devices of one processor (`MirroredStrategy`), and in 2 and 3 processes
(`MultiWorkerMirroredStrategy`). The number is the greatest difference of a weight; of several
processes, of those of any.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.runner.results import table

CASES = {
    "soft targets": "soft targets",
    "hint": "and a hint with a projector",
    "two teachers": "two teachers, weighed by cross-entropy",
    "sample weights": "sample weights",
    "L2": "L2 regularisation",
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
        spawn([{**spec, "devices": 1, "path": f"{folder}/one"}])
        paths = [f"{folder}/{worker}" for worker in range(workers)]
        spawn([{**spec, "devices": devices, "path": path} for path in paths])
        return {
            case: max(
                distance(Path(f"{folder}/one {case}.npz"), Path(f"{path} {case}.npz"))
                for path in paths
            )
            for case in cases
        }


def spawn(specifications):
    """Runs one process for each, as the workers of one job where there are several."""
    command = [sys.executable, "-m", "benchmarks.shared.replicated"]
    places, started = addresses(len(specifications)), []
    for index, spec in enumerate(specifications):
        task = {"cluster": {"worker": places}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(task)}
        if len(places) == 1:
            environment.pop("TF_CONFIG")
        root = Path(__file__).parents[2]
        pipes = {"stdout": subprocess.PIPE, "text": True, "cwd": root, "env": environment}
        started.append(subprocess.Popen([*command, json.dumps(spec)], **pipes))
    teacher_outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"a process failed: {[process.returncode for process in started]}")
    return teacher_outputs


def addresses(count):
    """Free ports of this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return found


def distance(one, other):
    with np.load(one) as first, np.load(other) as second:
        return max(float(np.abs(first[name] - second[name]).max()) for name in first.files)


def report(done):
    rows = []
    for case, title in CASES.items():
        found = [
            [run["metrics"][case] for run in done.where(how=how) if case in run["metrics"]]
            for how in HOW
        ]
        rows.append([title, *(f"{max(values):.0e}" if values else "" for values in found)])
    seeds = len({run["seed"] for run in done.runs})
    return table([f"greatest difference, {seeds} seeds", *HOW], rows)
