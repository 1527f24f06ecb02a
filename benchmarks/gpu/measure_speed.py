"""Measure the steps of each pair beside PyTorch's."""

import contextlib
import traceback

from benchmarks.gpu.against_torch import TorchProcess, python
from benchmarks.gpu.compiler import Compiler
from benchmarks.gpu.steps import Steps, measure, profile


def measure_pairs(images, options, results, clock):
    """Measure each pair and write its result at once."""
    compiler = Compiler(options.threads, clock.report)
    with contextlib.ExitStack() as stack:
        processes = {}
        if python():
            for pair in options.pairs:
                processes[pair] = stack.enter_context(TorchProcess(pair, options.batch))
        every = {
            pair: Steps(pair, images, options.batch, options.steps, compiler)
            for pair in options.pairs
        }
        others = {pair: _torch_runs(process, results) for pair, process in processes.items()}
        for steps in every.values():
            steps.wait()
        clock.report(f"compiled; PyTorch: {[pair for pair in others if others[pair]]}")
        for pair, steps in every.items():
            start = clock.elapsed()
            metrics = measure(steps, others.get(pair, {}), options.turns)
            metrics |= _profiles(steps, results)
            seed = len(results.done.where(pair=pair))
            results.add({"pair": pair}, seed, metrics, clock.elapsed() - start)
            clock.report(f"speed of {pair}: {metrics}")


def _torch_runs(process, results):
    try:
        return process.runs()
    except RuntimeError as error:
        results.fail("PyTorch", error)
        return {}


def _profiles(steps, results):
    """Return the kernels of the student's step and of distillation, where there is a profiler."""
    found = {}
    for name in ("student", "live"):
        try:
            found[f"{name}_profile"] = profile(steps.runs()[name], steps.count)
        except Exception as error:  # Profilers are not available on every machine.
            traceback.print_exc()
            results.fail(f"profile of {name}", error)
    return found
