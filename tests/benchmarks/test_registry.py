"""Every registered benchmark can be loaded, planned and reported."""

import pytest

from benchmarks.paths import RESULTS
from benchmarks.registry import ELSEWHERE, MODULES, load, results_path
from benchmarks.runner.results import Done


@pytest.mark.parametrize("name", MODULES)
def test_benchmark_plans_jobs_of_plain_values_and_reports_nothing(name):
    module = load(name)
    jobs = module.plan(Done(), 1, True)
    assert jobs
    for cell, seed in jobs:
        assert isinstance(seed, int)
        assert all(isinstance(value, str | int | float | bool | None) for value in cell.values())
    assert isinstance(module.report(Done()), str)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_benchmark_of_another_machine_reports_nothing(name):
    assert load(name).report(Done()) == ""


def test_results_are_in_the_folder_of_the_module():
    paths = {results_path(RESULTS, name) for name in MODULES}
    elsewhere = {results_path(RESULTS, name) for name in ELSEWHERE}
    assert paths == set(RESULTS.rglob("*.json")) - elsewhere
    assert results_path(RESULTS, "cache_join") == RESULTS / "cache" / "cache_join.json"
