"""Work of a worker process."""

import os
import subprocess
import sys

import pytest

from benchmarks.paths import ROOT
from benchmarks.runner.job import run_job, run_quick
from benchmarks.runner.results import measured_on
from benchmarks.runner.run import environment
from benchmarks.shared import training
from tests.benchmarks.fake import register

PARENT = """
import os, time
from benchmarks.runner.run import worker_pool

if __name__ == "__main__":
    with worker_pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _restore_state(monkeypatch):
    monkeypatch.setattr(training, "quick_mode", False)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")


def test_job_returns_metrics_and_seconds(monkeypatch):
    register(monkeypatch, "one", lambda cell, seed, quick: {"seed": seed, "quick": quick})
    metrics, seconds = run_job("one", {}, 3, 1)
    assert metrics == {"seed": 3, "quick": False}
    assert seconds >= 0


def test_quick_run_uses_few_samples_and_reports_the_machine(monkeypatch):
    def run(cell, seed, quick):
        assert quick
        assert training.quick_mode
        return {}

    register(monkeypatch, "one", run, report=measured_on)
    report, _ = run_quick("one", 1, environment())
    assert report.startswith("Measured on ")


def test_workers_end_when_the_runner_is_killed(tmp_path):
    script = tmp_path / "runner.py"
    script.write_text(PARENT)
    runner = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert int(runner.stdout.readline()) > 0
    runner.kill()
    # The pipe closes when the last process that writes to it has ended.
    assert runner.communicate(timeout=60) == ("", None)
