"""Scheduling of jobs, and what happens if one fails."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.runner.results import Done
from benchmarks.runner.run import run_all_quick, run_jobs
from benchmarks.shared import training
from tests.benchmarks.fake import raise_error, register


@pytest.fixture(autouse=True)
def _restore_state(monkeypatch):
    monkeypatch.setattr(training, "quick_mode", False)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")


def test_missing_jobs_run_and_are_saved(tmp_path, monkeypatch, capsys):
    module = register(monkeypatch, "one", lambda cell, seed, quick: {"seed": seed}, count=3)
    done, path = Done(), tmp_path / "one.json"
    done.add({}, 1, {"seed": 1}, 0)
    with ThreadPoolExecutor(1) as pool:
        run_jobs("one", module, 3, 1, pool, done, path)
    assert sorted(run["seed"] for run in Done.load(path).runs) == [0, 1, 2]
    assert capsys.readouterr().out.startswith("[1/2] {} seed ")


def test_no_job_starts_after_one_failed(tmp_path, monkeypatch):
    started = []

    def run(cell, seed, quick):
        started.append(seed)
        raise_error(cell, seed, quick)

    module = register(monkeypatch, "failing", run, count=100)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ArithmeticError, match="this one fails"):
        run_jobs("failing", module, 100, 1, pool, Done(), tmp_path / "failing.json")
    assert len(started) < 100


def test_quick_run_names_failed_benchmarks_and_runs_the_others(monkeypatch, capsys):
    register(monkeypatch, "failing", raise_error)
    register(monkeypatch, "working", lambda cell, seed, quick: {})
    with ThreadPoolExecutor(1) as pool:
        assert run_all_quick(["failing", "working"], 1, pool) == 1
    printed = capsys.readouterr().out
    assert "failing FAILED" in printed
    assert "ArithmeticError: this one fails" in printed
    assert "working passed" in printed
