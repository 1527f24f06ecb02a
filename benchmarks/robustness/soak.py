"""Jobs that are killed at random moments and restarted, compared with jobs that ran without a kill.

Each job is killed with SIGKILL at a random moment and restarted, twelve times unless it finishes
before, and then runs to its end. Its result must equal that of an uninterrupted job bit for bit. A
fifth of the kills happen before the first step of a process; the others are spread over the work.
The files and the printed lines show the phase of a kill. The pipeline is also killed right after a
stage has appeared.
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

from benchmarks.paths import ROOT
from benchmarks.robustness import soak_process
from benchmarks.runner.results import table
from keras_kd.files import UNFINISHED

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
        process, launched = Process(job, whole), time.perf_counter()
        process.wait_for_work()
        started = time.perf_counter()
        process.wait()
        durations = started - launched, time.perf_counter() - started
        phases = Counter()
        for _ in range(1 if quick else KILLS):
            phase = start_and_kill(job, Path(killed), draw, *durations)
            if phase is None:
                break
            phases[phase] += 1
        Process(job, killed).wait()
        return {**phases, "same": int(same_weights(whole, killed))}


def start_and_kill(job, folder, draw, starting, working):
    """Start a process and kill it; return the phase of the kill, `None` if it finished before."""
    process, phase = Process(job, folder), None
    stages = folder / "stages"
    if draw.random() < 0.2:
        time.sleep(draw.uniform(0, 0.8 * starting))
        phase = BEFORE
    elif job == "pipeline" and draw.random() < 0.5:
        finished = count_files(stages)
        while count_files(stages) == finished and process.is_running():
            time.sleep(0.001)
        phase = "between two stages of the pipeline"
    else:
        process.wait_for_work()
        # A killed stage starts again; the other jobs resume, and usually do a part of the work.
        share = 0.5 if job == "pipeline" else 1.6 / KILLS
        time.sleep(draw.uniform(0, share * working))
    if not process.kill():
        return None
    return phase or find_phase(job, folder, process.epoch)


def find_phase(job, folder, epoch):
    if job == "cache":
        return "while a cache is built"
    if job == "pipeline":
        return "within a stage of the pipeline"
    if list(folder.glob(f"run/{UNFINISHED}*")):
        return "while a checkpoint is written"
    late = job == "self-distillation" and epoch >= soak_process.START
    return "late phase of self-distillation" if late else "within an epoch"


def count_files(folder):
    return len([path for path in folder.glob("*") if not path.name.startswith(".")])


def same_weights(one, other):
    """Return whether the weights in both folders are equal bit for bit."""
    with np.load(f"{one}/weights.npz") as first, np.load(f"{other}/weights.npz") as second:
        return all(np.array_equal(first[name], second[name]) for name in first.files)


class Process:
    """Process of soak_process.py and a thread that reads what it prints."""

    def __init__(self, job, folder):
        command = [sys.executable, "-m", "benchmarks.robustness.soak_process", job, str(folder)]
        self._journal = Path(folder) / "cache" / "journal.jsonl" if job == "cache" else None
        self._initial_size = self._journal_size()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.epoch = -1
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read_output)
        self._reader.start()

    def wait_for_work(self):
        """Wait until the first new step or block is done, or the process has ended."""
        deadline = time.monotonic() + 300
        while (
            self.is_running()
            and not self._started.is_set()
            and self._journal_size() <= self._initial_size
        ):
            if time.monotonic() > deadline:
                raise RuntimeError("The process has not started to work after 300 seconds.")
            time.sleep(0.001)

    def is_running(self):
        return self._process.poll() is None

    def kill(self):
        """Kill the process; return whether it was still running."""
        self._process.send_signal(signal.SIGKILL)
        self._reader.join()
        return self._process.wait() == -signal.SIGKILL

    def wait(self):
        self._reader.join()
        if self._process.wait():
            raise RuntimeError(f"The process failed with exit code {self._process.returncode}.")

    def _read_output(self):
        for line in self._process.stdout:
            if line.strip() == soak_process.STARTED:
                self._started.set()
            elif line.strip().isdecimal():
                self.epoch = int(line)

    def _journal_size(self):
        exists = self._journal is not None and self._journal.exists()
        return self._journal.stat().st_size if exists else 0


def report(done):
    kills, same_kills = Counter(), Counter()
    for one in done.runs:
        for phase in PHASES:
            kills[phase] += one["metrics"].get(phase, 0)
            same_kills[phase] += one["metrics"].get(phase, 0) * one["metrics"]["same"]
    rows = [[phase, kills[phase], same_kills[phase]] for phase in PHASES]
    rows.append(["**all**", kills.total(), same_kills.total()])
    return table(["killed", "times", "in runs that ended with the same weights"], rows)
