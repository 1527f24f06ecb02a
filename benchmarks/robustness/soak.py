"""Runs that are killed at random moments and started again, held against runs that were not.

Each job is started, killed with SIGKILL at a random moment, started again, killed again, twelve
times unless it is done before, and then left to end. What it ends with must be, bit for bit, what
the job ends with that nobody killed. A fifth of the kills fall before the first step of a process;
the others are spread over the work, a process's start left out. In which phase a kill fell is read
off the disk and off what the process had said. The pipeline is also killed the moment after a stage
appeared.
"""

import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.robustness import soaked
from benchmarks.runner.results import table

JOBS = ("distillation", "self-distillation", "cache", "pipeline")
KILLS = 12
BEFORE = "before the first step of a process"
PHASES = (
    BEFORE,
    "within an epoch",
    "while a checkpoint is written",
    "late phase of self-distillation",
    "while a cache is built",
    "within a stage of the pipeline",
    "between two stages of the pipeline",
)


def plan(done, seeds, quick):
    jobs = ("distillation",) if quick else JOBS
    return [({"job": job}, seed) for seed in range(seeds) for job in jobs]


def run(cell, seed, quick):
    draw, job = random.Random(seed), cell["job"]
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as killed:
        start, begun = Process(job, whole), time.perf_counter()
        start.wait_for_work()
        worked = time.perf_counter()
        start.end()
        spans = worked - begun, time.perf_counter() - worked
        phases = Counter()
        for _ in range(1 if quick else KILLS):
            phase = kill(job, Path(killed), draw, *spans)
            if phase is None:
                break  # It was done before its time had come.
            phases[phase] += 1
        Process(job, killed).end()
        return {**phases, "same": same(whole, killed)}


def kill(job, folder, draw, starting, working):
    """Starts a process and kills it; the phase in which it was, or `None` if it was faster."""
    process, phase = Process(job, folder), None
    stages = folder / "stages"
    if draw.random() < 0.2:
        time.sleep(draw.uniform(0, 0.8 * starting))
        phase = BEFORE
    elif job == "pipeline" and draw.random() < 0.5:
        there = count(stages)
        while count(stages) == there and process.runs():
            time.sleep(0.001)
        phase = "between two stages of the pipeline"
    else:
        process.wait_for_work()
        # Stages begin anew. All else goes on, and comes to less than the whole, as a rule.
        share = 0.5 if job == "pipeline" else 1.6 / KILLS
        time.sleep(draw.uniform(0, share * working))
    if not process.kill():
        return None
    return phase or phase_of(job, folder, process.epoch)


def phase_of(job, folder, epoch):
    if job == "cache":
        return "while a cache is built"
    if job == "pipeline":
        return "within a stage of the pipeline"
    if list(folder.glob("run/.unfinished-*")):
        return "while a checkpoint is written"
    late = job == "self-distillation" and epoch >= soaked.LATE
    return "late phase of self-distillation" if late else "within an epoch"


def count(folder):
    return len([path for path in folder.glob("*") if not path.name.startswith(".")])


def same(one, other):
    """1 where both folders hold the same weights, bit for bit, else 0."""
    with np.load(f"{one}/weights.npz") as first, np.load(f"{other}/weights.npz") as second:
        return int(all(np.array_equal(first[name], second[name]) for name in first.files))


class Process:
    """A process of benchmarks/steps/soaked.py, whose words are listened to."""

    def __init__(self, job, folder):
        command = [sys.executable, "-m", "benchmarks.robustness.soaked", job, str(folder)]
        root = Path(__file__).parents[2]
        self._blocks = Path(folder) / "cache" / "journal.jsonl" if job == "cache" else None
        self._had = self._written()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        self.epoch = -1
        self._works = threading.Event()
        self._ears = threading.Thread(target=self._listen)
        self._ears.start()

    def wait_for_work(self):
        """Until its first new step or block is done, or it has ended."""
        deadline = time.monotonic() + 300
        while self.runs() and not self._works.is_set() and self._written() <= self._had:
            if time.monotonic() > deadline:
                raise RuntimeError("the process did not begin")
            time.sleep(0.001)

    def runs(self):
        return self._process.poll() is None

    def kill(self):
        """Whether it was killed, and not done already."""
        self._process.send_signal(signal.SIGKILL)
        self._ears.join()
        return self._process.wait() == -signal.SIGKILL

    def end(self):
        self._ears.join()
        if self._process.wait():
            raise RuntimeError(f"the process failed: {self._process.returncode}")

    def _listen(self):
        for line in self._process.stdout:
            if line.strip() == soaked.WORKS:
                self._works.set()
            elif line.strip().isdecimal():
                self.epoch = int(line)

    def _written(self):
        there = self._blocks is not None and self._blocks.exists()
        return self._blocks.stat().st_size if there else 0


def report(done):
    kills, same_kills = Counter(), Counter()
    for one in done.runs:
        for phase in PHASES:
            kills[phase] += one["metrics"].get(phase, 0)
            same_kills[phase] += one["metrics"].get(phase, 0) * one["metrics"]["same"]
    rows = [[phase, kills[phase], same_kills[phase]] for phase in PHASES]
    rows.append(["**all**", kills.total(), same_kills.total()])
    return table(["killed", "times", "in runs that ended with the same weights"], rows)
