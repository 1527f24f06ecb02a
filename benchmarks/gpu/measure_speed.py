"""Measure the steps of each pair beside PyTorch's, or list their kernels."""

import contextlib
import traceback

from benchmarks.gpu.against_torch import TorchProcess, python
from benchmarks.gpu.compiler import Compiler
from benchmarks.gpu.steps import NAMES, PROFILED, Steps, measure, profile


def measure_pairs(images, options, results, clock):
    """Measure each pair and write its result at once."""
    with contextlib.ExitStack() as stack:
        processes = {}
        if python():
            for pair in options.pairs:
                processes[pair] = stack.enter_context(TorchProcess(pair, options.batch))
        every = compile_steps(images, options, results, clock, NAMES)
        others = {pair: _torch_runs(process, results) for pair, process in processes.items()}
        ready = {pair: list(runs) for pair, runs in others.items()}
        clock.report(f"all is compiled; PyTorch: {ready}")
        for pair, steps in every.items():
            start = clock.elapsed()
            metrics = measure(steps, others.get(pair, {}), options.turns)
            seed = len(results.done.where(pair=pair))
            results.add({"pair": pair}, seed, metrics, clock.elapsed() - start)
            clock.report(f"speed of {pair}: {metrics}")


def profile_pairs(images, options, results, clock):
    """Write the kernels of the student's step and of distillation."""
    for pair, steps in compile_steps(images, options, results, clock, PROFILED).items():
        for name, run in steps.runs().items():
            start = clock.elapsed()
            metrics = profile(run, steps.count)
            results.add({"profile": pair, "step": name}, 0, metrics, clock.elapsed() - start)
            clock.report(f"kernels of {pair} {name}: {metrics}")


def compile_steps(images, options, results, clock, names):
    """Return the steps of each pair, compiled; those that fail are noted."""
    compiler = Compiler(options.threads, clock.report)
    every = {
        pair: Steps(pair, images, options.batch, options.steps, compiler, names)
        for pair in options.pairs
    }
    for pair, steps in every.items():
        for name, error in steps.wait().items():
            traceback.print_exception(error)
            results.fail(f"{pair} {name}", error)
    return every


def _torch_runs(process, results):
    try:
        return process.runs()
    except RuntimeError as error:
        results.fail("PyTorch", error)
        return {}
