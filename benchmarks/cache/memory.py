"""Memory of a process that builds a cache or reads one, for two sizes of data.

Synthetic samples, made as they are read; a teacher of 100 classes, float16; batches of 500; two
epochs of joined batches, shuffled 10,000 at a time. Each part runs in its own process. Resident
memory as the kernel counts it: the memory of the process itself, and pages of mapped files, which
the kernel reclaims when it needs them.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.paths import ROOT
from benchmarks.runner.results import mean_sd, table

SIZES = (60_000, 600_000)
PARTS = ("build", "join")


def plan(done, seeds, quick):
    sizes = SIZES[:1] if quick else SIZES
    return [({"samples": size}, seed) for seed in range(seeds) for size in sizes]


def run(cell, seed, quick):
    metrics = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache"
        for part in PARTS:
            command = [sys.executable, "-m", "benchmarks.cache.memory_process"]
            output = subprocess.check_output(
                [*command, part, str(cell["samples"]), str(path)],
                text=True,
                cwd=ROOT,
            )
            for key, value in json.loads(output.splitlines()[-1]).items():
                metrics[f"{part}_{key}"] = value
        metrics["bytes"] = sum(file.stat().st_size for file in path.glob("*.npy"))
    return metrics


def report(done):
    rows = []
    for part in PARTS:
        for size in sorted({run["cell"]["samples"] for run in done.runs}):
            values = {
                key: mean_sd(done.values(f"{part}_{key}", samples=size), digits=0)
                for key in ("own", "grown", "files")
            }
            stored = mean_sd(done.values("bytes", samples=size), 1e-6, 0)
            rows.append([part, f"{size:,}", stored, *values.values()])
    header = [
        "part",
        "samples",
        "MB on disk",
        "peak MB of the process",
        "growth since the start",
        "MB of mapped files",
    ]
    return table(header, rows)
