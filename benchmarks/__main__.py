"""The runner: `python -m benchmarks run NAME --seeds 5`, `python -m benchmarks report`.

A benchmark is a module with `plan`, `run` and `report` (a table), and perhaps `chart(done, path)`,
which draws docs/images/NAME.svg, and `ALONE`, for timings.

Each finished job is written to the JSON at once, so a run that is stopped goes on where it was.
"""

import argparse
import os
import platform
import re
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from benchmarks.registry import MODULES, load, results_path
from benchmarks.runner.job import end_with_the_runner, run_job, run_quickly
from benchmarks.runner.machine import machine
from benchmarks.runner.results import Done

ROOT = Path(__file__).parent
MARKED = re.compile(r"<!-- benchmark: (\w+) -->.*?<!-- end of benchmark -->", re.DOTALL)
PACKAGES = ("keras-kd", "keras", "tensorflow", "numpy", "ai-edge-litert")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a benchmark, or go on with one that was stopped")
    run.add_argument("name", nargs="+", choices=["all", *MODULES])
    run.add_argument("--seeds", type=int, default=5)
    run.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes of one core each")
    run.add_argument("--out", type=Path, default=ROOT / "results")
    run.add_argument("--quick", action="store_true", help="only prove that they still run")
    report = commands.add_parser("report", help="write the tables of the docs from the JSON files")
    report.add_argument("--results", type=Path, default=ROOT / "results")
    report.add_argument("--docs", type=Path, default=ROOT.parent / "docs")
    options = parser.parse_args(arguments)
    # TensorFlow leaves oneDNN off on some processors, where it more than halves a step's time.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if options.command == "report":
        return write_reports(options.results, options.docs)
    wanted = list(MODULES) if "all" in options.name else options.name
    if options.quick:
        with workers(options.jobs) as pool:
            return prove(wanted, options.jobs, pool)
    for name in wanted:
        run_benchmark(name, options)
    return 0


def run_benchmark(name, options):
    module, path = load(name), results_path(options.out, name)
    done = Done.load(path)
    done.about = {"benchmark": name, **surroundings()}
    # Timings need the machine to themselves.
    jobs = 1 if getattr(module, "ALONE", False) else options.jobs
    with workers(jobs) as pool:
        run_all(name, module, options.seeds, jobs, pool, done, path)
    print(module.report(done))


def run_all(name, module, seeds, jobs, pool, done, path):
    """Runs what a benchmark plans, until it plans no more or a job fails."""
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
                shown = {k: round(v, 4) for k, v in metrics.items() if isinstance(v, (int, float))}
                print(
                    f"[{count}/{len(todo)}] {cell} seed {seed}: {shown} ({seconds:.0f} s)",
                    flush=True,
                )
        except BaseException:
            # Else the pool would run all the others, and nobody would keep what they find.
            pool.shutdown(cancel_futures=True)
            raise


def prove(wanted, jobs, pool):
    """Runs benchmarks in their quick form from the beginning; the number of those that fail."""
    about, failed = surroundings(), 0
    futures = {pool.submit(run_quickly, name, jobs, about): name for name in wanted}
    for future in as_completed(futures):
        name = futures[future]
        if error := future.exception():
            failed += 1
            print(f"{name} FAILS: {''.join(traceback.format_exception(error))}\n", flush=True)
            continue
        report, seconds = future.result()
        print(f"{name} runs ({seconds:.0f} s)\n{report}\n", flush=True)
    return failed


def workers(count):
    return ProcessPoolExecutor(count, get_context("spawn"), end_with_the_runner)


def surroundings():
    return {
        "versions": {package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "machine": machine(),
        "onednn": os.environ["TF_ENABLE_ONEDNN_OPTS"],
    }


def write_reports(results, docs):
    """Puts each benchmark's report between its markers wherever the docs have them."""
    used = set()
    for page in sorted([*docs.rglob("*.md"), ROOT.parent / "README.md"]):
        text = page.read_text()
        used |= {match[1] for match in MARKED.finditer(text)}
        new = reported(text, results)
        if new != text:
            page.write_text(new)
            print(f"wrote {page}")
    for name in sorted(used):
        chart = getattr(load(name), "chart", None)
        path = results_path(results, name)
        if chart and path.exists():
            (docs / "images").mkdir(exist_ok=True)
            chart(Done.load(path), docs / "images" / f"{name}.svg")
    return 0


def reported(text, results):
    """A page with each benchmark's report between its markers."""

    def body(match):
        name, results_file = match[1], results_path(results, match[1])
        report = f"Not measured yet: `python -m benchmarks run {name}` does it."
        if results_file.exists():
            report = load(name).report(Done.load(results_file)).strip()
        return f"<!-- benchmark: {name} -->\n{report}\n<!-- end of benchmark -->"

    return MARKED.sub(body, text)


if __name__ == "__main__":
    sys.exit(main())
