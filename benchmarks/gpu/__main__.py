"""Measure the speed of a step and train the CIFAR-100 pairs on one GPU, within some minutes.

`python -m benchmarks.gpu --data cifar100.npz --out results --minutes 9`. Every finished run is
written at once, into `--work` and `--out`. Another call with the same `--work` continues.
"""

import argparse
import os
import shutil
import traceback
from pathlib import Path

from benchmarks.gpu.clock import Clock

#: What the libraries read when they are imported. PyTorch's process needs some memory too.
ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.7",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
}
PARTS = ("speed", "accuracy", "profile")


def main(arguments=None):
    options = parse(arguments)
    clock = Clock(options.minutes, options.total or options.minutes)
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    if options.earlier:
        copy_earlier(options.earlier, options.work)
    for name, value in {**ENVIRONMENT, "JAX_COMPILATION_CACHE_DIR": f"{options.work}/xla"}.items():
        os.environ.setdefault(name, value)
    from benchmarks.gpu.images import Images

    images = Images.random(64) if options.quick else Images.load(options.data)
    failures = 0
    for part in options.parts:
        try:
            failures += run_part(part, images, options, clock)
        except Exception:  # The other part does not need this one.
            traceback.print_exc()
            failures += 1
    clock.report(f"{failures} failures")
    return min(failures, 1)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--data", type=Path, help="the .npz of `benchmarks.gpu.pack`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--work", type=Path, help="kept between calls; defaults to --out/work")
    parser.add_argument("--earlier", type=Path, help="results of an earlier machine")
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call")
    parser.add_argument("--total", type=float, help="minutes of all calls, to choose the epochs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["speed", "accuracy"])
    parser.add_argument("--pairs", nargs="+", default=["vgg", "resnet"])
    parser.add_argument("--epochs", nargs="+", default=[], help="such as vgg=240; else what fits")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=6, help="programs compiled at once")
    parser.add_argument("--quick", action="store_true", help="only check that it runs")
    options = parser.parse_args(arguments)
    options.work = options.work or options.out / "work"
    options.epochs = {name: int(n) for name, n in (item.split("=") for item in options.epochs)}
    options.chunk, options.turns, options.steps = 5, 9, 48
    if options.quick:
        options.pairs, options.epochs, options.seeds = ["tiny"], {"tiny": 2}, 1
        options.batch, options.chunk, options.turns, options.steps = 16, 1, 1, 2
    elif options.data is None:
        parser.error("--data is needed without --quick")
    return options


def copy_earlier(folder, work):
    """Copy results and teachers of an earlier machine, unless this one has its own."""
    for path in folder.iterdir():
        target = work / "teachers" / path.name if path.suffix == ".npz" else work / path.name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)


def run_part(part, images, options, clock):
    """Run one of the parts and return the number of failures."""
    from benchmarks.gpu import measure_speed, run
    from benchmarks.gpu.results import Results

    name = "gpu_cifar100" if part == "accuracy" else "gpu_speed"
    about = run.about(options) if part == "accuracy" else {"batch": options.batch}
    results = Results(name, options.work, options.out, about)
    runner = {
        "speed": measure_speed.measure_pairs,
        "accuracy": run.run_plan,
        "profile": measure_speed.profile_pairs,
    }[part]
    try:
        runner(images, options, results, clock)
    finally:
        results.save()
    return results.failures


if __name__ == "__main__":
    code = main()
    # Threads that still compile would go on for minutes.
    os._exit(code)
