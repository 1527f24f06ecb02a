"""Run benchmarks: `python -m benchmarks run NAME --seeds 5`, `python -m benchmarks report`.

Each finished job is saved at once; a run that was stopped continues with the missing jobs.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.paths import DOCS, RESULTS, ROOT
from benchmarks.registry import MODULES
from benchmarks.runner.reports import write_reports
from benchmarks.runner.run import run_all_quick, run_benchmark, worker_pool


def main(arguments=None):
    options = parse(arguments)
    # TensorFlow disables oneDNN on some processors, where it more than halves the time of a step.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if options.command == "report":
        pages = [ROOT / "README.md", *sorted(options.docs.rglob("*.md"))]
        write_reports(options.results, pages, options.docs / "images")
        return 0
    names = list(MODULES) if "all" in options.name else options.name
    if options.quick:
        with worker_pool(options.jobs) as pool:
            return run_all_quick(names, options.jobs, pool)
    for name in names:
        run_benchmark(name, options.seeds, options.jobs, options.out)
    return 0


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run benchmarks, or continue stopped ones")
    run.add_argument("name", nargs="+", choices=["all", *MODULES])
    run.add_argument("--seeds", type=int, default=5)
    run.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes of one core each")
    run.add_argument("--out", type=Path, default=RESULTS)
    run.add_argument("--quick", action="store_true", help="only check that they run")
    report = commands.add_parser("report", help="write the tables of the docs from the results")
    report.add_argument("--results", type=Path, default=RESULTS)
    report.add_argument("--docs", type=Path, default=DOCS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
