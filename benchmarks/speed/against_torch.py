"""Speed of the distiller's step compared with plain PyTorch, each in a process with one thread.

`KERAS_KD_TORCH` names a Python that has PyTorch; without it the comparison is omitted.
"""

import os
import shutil
import statistics
import subprocess
import sys

from benchmarks.paths import ROOT


def torch_python():
    """Return a Python that has PyTorch, or `None`."""
    named = os.environ.get("KERAS_KD_TORCH")
    return shutil.which(named) if named else None


def compare_with_torch(images, quick):
    """Return our steps per second divided by PyTorch's, and the milliseconds of both.

    The processes take turns, a few steps each.
    """
    turns, count = (3, 2) if quick else (25, 4)
    ours = [sys.executable, "-m", "benchmarks.speed.keras_process", images]
    theirs = [torch_python(), "-m", "benchmarks.speed.torch_process", images]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen(one, env=environment, **pipes) for one in (ours, theirs)]
    try:
        versions = [worker.stdout.readline().split()[-1] for worker in workers]
        times = [[_seconds(worker, count) for worker in workers] for _ in range(turns + 1)][1:]
    finally:
        for worker in workers:
            worker.stdin.close()
            worker.wait()
    return {
        "speed": statistics.median(theirs / ours for ours, theirs in times),
        "ours_ms": 1e3 * statistics.median(ours for ours, _ in times) / count,
        "theirs_ms": 1e3 * statistics.median(theirs for _, theirs in times) / count,
        "torch": versions[1],
    }


def _seconds(worker, count):
    print(count, file=worker.stdin, flush=True)
    return float(worker.stdout.readline())
