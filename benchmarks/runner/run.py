"""Run the jobs of benchmarks in worker processes."""

import os
import platform
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context

from benchmarks.registry import load, results_path
from benchmarks.runner.job import exit_with_parent, run_job, run_quick
from benchmarks.runner.machine import machine
from benchmarks.runner.results import Done

PACKAGES = ("keras-kd", "keras", "tensorflow", "numpy", "ai-edge-litert")


def run_benchmark(name, seeds, jobs, folder):
    """Run the missing jobs of a benchmark, save their results below `folder`, print its report."""
    module, path = load(name), results_path(folder, name)
    done = Done.load(path)
    done.about = {"benchmark": name, **environment()}
    # Nothing else may run while time is measured.
    jobs = 1 if getattr(module, "ALONE", False) else jobs
    with worker_pool(jobs) as pool:
        run_jobs(name, module, seeds, jobs, pool, done, path)
    print(module.report(done))


def run_jobs(name, module, seeds, jobs, pool, done, path):
    """Run what a benchmark plans until it plans nothing more or a job fails."""
    while todo := [job for job in module.plan(done, seeds, False) if job not in done]:
        futures = {
            pool.submit(run_job, name, cell, seed, jobs): (cell, seed) for cell, seed in todo
        }
        try:
            for count, future in enumerate(as_completed(futures), 1):
                cell, seed = futures[future]
                metrics, seconds = future.result()
                done.add(cell, seed, metrics, seconds)
                done.save(path)
                numbers = {
                    key: round(value, 4)
                    for key, value in metrics.items()
                    if isinstance(value, (int, float))
                }
                print(
                    f"[{count}/{len(todo)}] {cell} seed {seed}: {numbers} ({seconds:.0f} s)",
                    flush=True,
                )
        except BaseException:
            # Otherwise the pool runs all other jobs, and nobody saves their results.
            pool.shutdown(cancel_futures=True)
            raise


def run_all_quick(names, jobs, pool):
    """Run the quick form of benchmarks from the start; return how many of them fail."""
    about, failed = environment(), 0
    futures = {pool.submit(run_quick, name, jobs, about): name for name in names}
    for future in as_completed(futures):
        name = futures[future]
        if error := future.exception():
            failed += 1
            print(f"{name} FAILED: {''.join(traceback.format_exception(error))}\n", flush=True)
            continue
        report, seconds = future.result()
        print(f"{name} passed ({seconds:.0f} s)\n{report}\n", flush=True)
    return failed


def worker_pool(count):
    return ProcessPoolExecutor(count, get_context("spawn"), exit_with_parent)


def environment():
    """Return the versions and the machine that results depend on."""
    return {
        "versions": {package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "machine": machine(),
        "onednn": os.environ["TF_ENABLE_ONEDNN_OPTS"],
    }
