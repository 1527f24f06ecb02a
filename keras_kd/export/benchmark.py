"""Measure the latency of a .tflite file on this machine."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.files import ShortRepr, fields_table, results_table, text_fields
from keras_kd.litert.cost import cost
from keras_kd.litert.interpreter import LiteRT, read_tflite
from keras_kd.litert.signature import random_arrays

_BLOCKS = 10
_WARMUP = 20
_MAX_SECONDS = 30.0  # For all runs of one setting.


@dataclass(frozen=True, repr=False)
class Latency(ShortRepr):
    """Time of one run of a file: one batch of its own size, 1 if it is free.

    Attributes:
        median_us: Median in microseconds.
        p95_us: 95th percentile in microseconds.
        mean_us: Mean in microseconds.
        min_us: Minimum in microseconds.
        noise: Half the interquartile range of the medians of blocks of runs, as a fraction of the
            median. Smaller differences are not significant.
        throughput: Samples per second, at the median.
        runs: Number of timed runs.
        threads: Number of threads.
        xnnpack: Whether the XNNPACK delegate was used.
        memory: Peak memory of LiteRT in bytes, without the file and its own code; `None` on systems
            other than Linux.
    """

    median_us: float
    p95_us: float
    mean_us: float
    min_us: float
    noise: float
    throughput: float
    runs: int
    threads: int
    xnnpack: bool
    memory: int | None


@dataclass(frozen=True)
class Benchmark(HtmlTables):
    """Latency, memory and size of a file.

    `median_us`, `p95_us`, `noise`, `throughput` and `memory` are those of the first setting.

    Attributes:
        latencies: One `Latency` per setting.
        size: Size of the file in bytes.
        parameters: Number of weights and biases.
        macs: Multiply-accumulate operations of one run; `None` if unknown.
        ops: Number of occurrences of each op, by name.
        warmup: Number of untimed runs at the start.
    """

    latencies: tuple[Latency, ...]
    size: int
    parameters: int
    macs: int | None
    ops: dict[str, int]
    warmup: int

    def __repr__(self) -> str:
        header = text_fields("Benchmark", self._fields())
        return "\n".join([header, *(f"  {latency!r}" for latency in self.latencies)])

    def html_tables(self) -> Mapping[str, Table]:
        """Return the size of the file, and a row for each setting."""
        settings = {str(i): latency for i, latency in enumerate(self.latencies)}
        return {
            "Benchmark": fields_table(self._fields()),
            "Latencies": results_table("setting", settings),
        }

    def _fields(self) -> dict[str, Any]:
        names = ("size", "parameters", "macs", "memory", "ops")
        return {name: getattr(self, name) for name in names}

    @property
    def median_us(self) -> float:
        """Median of the first setting in microseconds."""
        return self.latencies[0].median_us

    @property
    def p95_us(self) -> float:
        """95th percentile of the first setting in microseconds."""
        return self.latencies[0].p95_us

    @property
    def noise(self) -> float:
        """Noise of the first setting, as a fraction of its median."""
        return self.latencies[0].noise

    @property
    def throughput(self) -> float:
        """Samples per second with the first setting."""
        return self.latencies[0].throughput

    @property
    def memory(self) -> int | None:
        """Peak memory with the first setting in bytes."""
        return self.latencies[0].memory

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        return asdict(self)


def benchmark(
    tflite: TFLiteModel | str | Path,
    *,
    runs: int = 200,
    warmup: int = _WARMUP,
    threads: int | Sequence[int] = 1,
    xnnpack: bool | Sequence[bool] = True,
) -> Benchmark:
    """Measure latency and memory of a .tflite file in LiteRT, and count its operations.

    Only the runs are timed, without copying inputs and outputs. Each setting runs in its own child
    process. Blocks of runs alternate between the settings, so that a temporarily slow machine
    affects all of them. A setting stops after 30 seconds. In a file with several signatures, the
    main graph is timed.

    Args:
        tflite: The file: what `to_tflite` returned, or a path.
        runs: Number of timed runs per setting. Defaults to 200.
        warmup: Number of untimed runs before. Defaults to 20.
        threads: Number of threads, or several to compare. Defaults to 1.
        xnnpack: Whether to use the XNNPACK delegate, or `(True, False)` to compare. Defaults to
            `True`.

    Returns:
        The `Benchmark`, with one `Latency` per number of threads with and without XNNPACK.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a .tflite model, or an argument is out of range.
        RuntimeError: If LiteRT cannot run the file.

    Example:
        >>> result = benchmark("model.tflite", threads=(1, 2))
        >>> [latency.median_us for latency in result.latencies], result.macs
        ([41.2, 24.8], 1204224)
    """
    thread_counts = [threads] if isinstance(threads, int) else list(threads)
    kernels = [xnnpack] if isinstance(xnnpack, bool) else list(xnnpack)
    _check(runs, warmup, thread_counts, kernels)
    path = tflite.path if isinstance(tflite, TFLiteModel) else tflite
    content = read_tflite(path)
    settings = list(product(kernels, thread_counts))
    with contextlib.ExitStack() as stack:
        runners = []
        for kernel, count in settings:
            runner = LiteRT(content, f"'{path}'", threads=count, xnnpack=kernel, new_process=True)
            runners.append(stack.enter_context(runner))
            _warm_up(runner, warmup)
        blocks = _time_blocks(runners, runs)
        memory = [runner.memory() for runner in runners]
    counted = cost(content)
    latencies = tuple(
        _latency(blocks[i], runners[i].batch_size or 1, count, kernel, memory[i])
        for i, (kernel, count) in enumerate(settings)
    )
    return Benchmark(latencies, len(content), counted.parameters, counted.macs, counted.ops, warmup)


def compare_latency(
    files: Mapping[str, TFLiteModel], runs: int
) -> dict[str, Latency | RuntimeError]:
    """Time several files on one thread, in alternating blocks of runs.

    Returns:
        The `Latency` by name, or the error of a file that LiteRT cannot run.

    Raises:
        ValueError: If `runs` is out of range.
    """
    _check(runs, _WARMUP, [1], [True])
    found: dict[str, Latency | RuntimeError] = {}
    with contextlib.ExitStack() as stack:
        runners = {}
        for name, file in files.items():
            try:
                runner = LiteRT(read_tflite(file.path), f"'{file.path}'", new_process=True)
                stack.enter_context(runner)
                _warm_up(runner, _WARMUP)
                runners[name] = runner
            except RuntimeError as error:
                found[name] = error
        blocks = _time_blocks(list(runners.values()), runs)
        for (name, runner), times in zip(runners.items(), blocks, strict=True):
            found[name] = _latency(times, runner.batch_size or 1, 1, True, runner.memory())
    return found


def _check(runs: int, warmup: int, threads: list[int], kernels: list[bool]) -> None:
    numbers = [("runs", runs, 1), ("warmup", warmup, 0), *(("threads", n, 1) for n in threads)]
    for name, value, least in numbers:
        if value < least:
            raise ValueError(f"Expected {name} of at least {least}. Received: {value}. Raise it.")
    for name, values in (("threads", threads), ("xnnpack", kernels)):
        if not values:
            raise ValueError(f"Expected at least one value of {name}. Received: none. Name one.")


def _warm_up(runner: LiteRT, warmup: int) -> None:
    """Run once on made-up samples, and then for some runs."""
    runner.run(random_arrays(runner.inputs, runner.batch_size or 1))
    if warmup:
        runner.time(warmup, _MAX_SECONDS / _BLOCKS)


def _time_blocks(runners: list[LiteRT], runs: int) -> list[list[np.ndarray]]:
    """Return the microseconds of the runs of each runner, per block."""
    sizes = [len(part) for part in np.array_split(np.arange(runs), min(_BLOCKS, runs))]
    blocks: list[list[np.ndarray]] = [[] for _ in runners]
    for size in sizes:
        for runner, found in zip(runners, blocks, strict=True):
            found.append(runner.time(size, _MAX_SECONDS / len(sizes)) / 1000)
    return blocks


def _latency(
    blocks: list[np.ndarray], batch: int, threads: int, xnnpack: bool, memory: int | None
) -> Latency:
    times = np.concatenate(blocks)
    median = float(np.median(times))
    quartiles = np.percentile([np.median(block) for block in blocks], [25, 75])
    return Latency(
        median_us=median,
        p95_us=float(np.percentile(times, 95)),
        mean_us=float(times.mean()),
        min_us=float(times.min()),
        noise=float(np.diff(quartiles)[0] / 2 / median),
        throughput=batch / median * 1e6,
        runs=len(times),
        threads=threads,
        xnnpack=xnnpack,
        memory=memory,
    )
