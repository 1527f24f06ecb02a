"""The benchmarks' runner, and that the docs say what its JSON files say."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from benchmarks.__main__ import MARKED, ROOT, prove, reported, run_all, surroundings
from benchmarks.export import compression
from benchmarks.registry import MODULES, load
from benchmarks.runner.job import run_quickly
from benchmarks.runner.results import Done, mean_sd, on, table
from benchmarks.shared import training


def register(monkeypatch, name, module):
    """Add a benchmark to the registry for one test."""
    monkeypatch.setitem(MODULES, name, f"benchmarks.{name}")
    monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)


PAGES = [ROOT.parent / "README.md", *sorted((ROOT.parent / "docs").rglob("*.md"))]
MARKED_PAGES = [page for page in PAGES if MARKED.search(page.read_text())]


@pytest.mark.parametrize("page", MARKED_PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_those_of_the_json(page):
    text = page.read_text()
    assert reported(text, ROOT / "results") == text, "run: python -m benchmarks report"


def test_the_tables_are_those_of_benchmarks_that_there_are():
    shown = {match[1] for page in MARKED_PAGES for match in MARKED.finditer(page.read_text())}
    assert shown <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_has_a_plan_of_jobs_of_plain_values_and_a_report_of_none(name):
    module = load(name)
    jobs = module.plan(Done(), 1, True)
    assert jobs
    plain = (str, int, float, bool, type(None))
    for cell, seed in jobs:
        assert isinstance(seed, int)
        assert all(isinstance(value, plain) for value in cell.values())
    assert isinstance(module.report(Done()), str)


def test_finished_jobs_are_kept_and_found_again(tmp_path):
    path = tmp_path / "deeper" / "name.json"
    done = Done(about={"benchmark": "name"})
    for seed, accuracy in [(1, 0.5), (0, 0.7)]:
        done.add({"method": "kd", "rate": 0.1}, seed, {"accuracy": accuracy}, 1.23)
    done.add({"method": "kd", "rate": 0.2}, 0, {"accuracy": 0.65}, 1)
    done.save(path)
    again = Done.load(path)
    assert again.about == {"benchmark": "name"}
    assert ({"rate": 0.1, "method": "kd"}, 0) in again
    assert ({"method": "kd", "rate": 0.1}, 2) not in again
    assert again.values("accuracy", rate=0.1) == [0.7, 0.5]
    assert again.best("accuracy", ("rate",), method="kd") == {"rate": 0.2}
    assert Done.load(tmp_path / "none.json").runs == []


def test_a_table_says_how_many_runs_there_were():
    assert mean_sd([0.5, 0.7], 100) == "60.00\u00a0±\u00a014.14"
    assert mean_sd([0.5], 100) == "50.00 (1\u00a0run)"
    assert table(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"


RUNNER = """
import os, time
from benchmarks.__main__ import workers

if __name__ == "__main__":
    with workers(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)
"""


def test_the_workers_end_with_the_runner_that_is_killed(tmp_path):
    script = tmp_path / "runner.py"
    script.write_text(RUNNER)
    variables = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    runner = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=variables
    )
    assert int(runner.stdout.readline()) > 0
    runner.kill()
    # What they say comes to its end when the last of them is gone.
    assert runner.communicate(timeout=60) == ("", None)


def test_a_quick_run_tells_its_report_where_it_ran(monkeypatch):
    quick = SimpleNamespace(
        plan=lambda done, seeds, quick: [({}, 0)], run=lambda cell, seed, quick: {}, report=on
    )
    register(monkeypatch, "quick_one", quick)
    monkeypatch.setattr(training, "quickly", False)  # What the run changes is changed back.
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")  # As the runner does.
    report, _ = run_quickly("quick_one", 1, surroundings())
    assert report.startswith("Measured on ")


def test_a_quick_run_that_fails_is_named_and_the_others_run(monkeypatch, capsys):
    def fails(cell, seed, quick):
        raise ArithmeticError("this one fails")

    def works(cell, seed, quick):
        return {"quickly": training.quickly}

    for name, run in (("failing", fails), ("working", works)):
        module = SimpleNamespace(
            plan=lambda done, seeds, quick: [({}, 0)],
            run=run,
            report=lambda done: f"quickly: {done.values('quickly')}",
        )
        register(monkeypatch, name, module)
    monkeypatch.setattr(training, "quickly", False)  # What the run changes is changed back.
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")  # As the runner does.
    with ThreadPoolExecutor(1) as pool:
        assert prove(["failing", "working"], 1, pool) == 1
    printed = capsys.readouterr().out
    assert "failing FAILS" in printed
    assert "ArithmeticError: this one fails" in printed
    assert "working runs" in printed
    assert "quickly: [True]" in printed


def test_compression_reports_a_run_that_has_no_student_of_the_labels_alone():
    metrics = {
        f"{name}_{what}": 0.5
        for name in ("start", "pruned_80")
        for what in ("int8_accuracy", "int8_bytes", "int8_gzip", "us")
    }
    done = Done()
    for stage in ("start", "taught"):
        done.add({"stage": stage}, 0, metrics, 0)
    report = compression.report(done)
    assert "pruned to 80 %" in report
    assert "With the teacher" not in report


def test_after_a_job_that_fails_no_other_is_begun(tmp_path, monkeypatch):
    begun = []

    def run(cell, seed, quick):
        begun.append(seed)
        raise ArithmeticError("this one fails")

    failing = SimpleNamespace(
        plan=lambda done, seeds, quick: [({}, i) for i in range(seeds)], run=run
    )
    register(monkeypatch, "failing", failing)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ArithmeticError, match="this one fails"):
        run_all("failing", failing, 100, 1, pool, Done(), tmp_path / "failing.json")
    assert len(begun) < 100
