"""How long a .tflite file takes for one run, measured on this machine."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.litert.cost import cost
from keras_kd.litert.interpreter import LiteRT, read

_BLOCKS = 10
_WARMUP = 20
_PATIENCE = 30.0  # seconds for all runs of one setting


@dataclass(frozen=True)
class Latency:
    """The time of one run of a file: one batch of its own size, 1 where that is free.

    Attributes:
        median_us: The median, in microseconds.
        p95_us: What 95 of 100 runs stay below, in microseconds.
        mean_us: The mean, in microseconds.
        min_us: The fastest run, in microseconds.
        noise: Half the distance between the quartiles of the medians of blocks of runs, which are
            spread over the measurement, as a share of the median. Smaller differences say nothing.
        throughput: Samples a second, at the median.
        runs: Number of runs that were timed.
        threads: Number of threads.
        xnnpack: Whether XNNPACK's kernels took over what they have.
        memory: The most bytes that LiteRT took beyond the file and its own code; `None` where the
            system does not say (it does on Linux).
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
class Benchmark:
    """What a file costs.

    `median_us`, `p95_us`, `noise`, `throughput` and `memory` can be read from it as those of the
    first setting.

    Attributes:
        latencies: One `Latency` for each setting.
        size: Bytes of the file.
        parameters: Number of weights and biases.
        macs: Multiply-accumulate operations of one run; `None` where that cannot be told.
        ops: How often each op occurs, by its name.
        warmup: Number of runs before those that were timed.
    """

    latencies: tuple[Latency, ...]
    size: int
    parameters: int
    macs: int | None
    ops: dict[str, int]
    warmup: int

    @property
    def median_us(self) -> float:
        """The median of the first setting, in microseconds."""
        return self.latencies[0].median_us

    @property
    def p95_us(self) -> float:
        """What 95 of 100 runs of the first setting stay below, in microseconds."""
        return self.latencies[0].p95_us

    @property
    def noise(self) -> float:
        """The noise of the first setting, as a share of its median."""
        return self.latencies[0].noise

    @property
    def throughput(self) -> float:
        """Samples a second with the first setting."""
        return self.latencies[0].throughput

    @property
    def memory(self) -> int | None:
        """The most bytes that LiteRT took with the first setting."""
        return self.latencies[0].memory

    def as_dict(self) -> dict[str, Any]:
        """Returns the numbers as JSON takes them."""
        return asdict(self)


def benchmark(
    tflite: TFLiteModel | str | Path,
    *,
    runs: int = 200,
    warmup: int = _WARMUP,
    threads: int | Sequence[int] = 1,
    xnnpack: bool | Sequence[bool] = True,
) -> Benchmark:
    """Times a .tflite file in LiteRT, and counts what it costs.

    Only the runs are timed, not the copying of input and output. Each setting has a process of its
    own with nothing else in it. The runs are done in blocks, the settings in turn, so that what
    slows the machine down for a while slows all of them. A setting whose runs take longer than half
    a minute is stopped there. The main graph is timed where a file has several signatures.

    Args:
        tflite: The file: what `to_tflite` returned, or a path.
        runs: Number of runs to time for each setting. Defaults to 200.
        warmup: Number of runs before that, not timed. Defaults to 20.
        threads: Number of threads, or several to compare. Defaults to 1.
        xnnpack: Whether XNNPACK's kernels may take over, or `(True, False)` to compare. Defaults to
            `True`.

    Returns:
        The `Benchmark`, with a `Latency` for each number of threads with and without XNNPACK.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a .tflite model, or a number is out of range.
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
    content = read(path)
    settings = list(product(kernels, thread_counts))
    with contextlib.ExitStack() as stack:
        runners = []
        for kernel, count in settings:
            runner = LiteRT(content, f"'{path}'", threads=count, xnnpack=kernel)
            runners.append(stack.enter_context(runner))
        blocks = _blocks(runners, runs, warmup)
        memory = [runner.memory() for runner in runners]
    counted = cost(content)
    latencies = tuple(
        _latency(blocks[i], _batch(runners[i]), count, kernel, memory[i])
        for i, (kernel, count) in enumerate(settings)
    )
    return Benchmark(latencies, len(content), counted.parameters, counted.macs, counted.ops, warmup)


def side_by_side(files: Mapping[str, TFLiteModel], runs: int) -> dict[str, Latency | RuntimeError]:
    """Times several files in turn, block by block, on one thread.

    Args:
        files: The files by name.
        runs: Number of runs to time for each.

    Returns:
        By name the `Latency`, or what LiteRT says of a file that it cannot run.

    Raises:
        ValueError: If a number is out of range.
    """
    _check(runs, _WARMUP, [1], [True])
    found: dict[str, Latency | RuntimeError] = {}
    with contextlib.ExitStack() as stack:
        runners = {}
        for name, file in files.items():
            try:
                runner = LiteRT(read(file.path), f"'{file.path}'")
                runners[name] = stack.enter_context(runner)
            except RuntimeError as error:
                found[name] = error
        blocks = _blocks(list(runners.values()), runs, _WARMUP)
        for (name, runner), times in zip(runners.items(), blocks, strict=True):
            found[name] = _latency(times, _batch(runner), 1, True, runner.memory())
    return found


def _check(runs: int, warmup: int, threads: list[int], kernels: list[bool]) -> None:
    numbers = [("runs", runs, 1), ("warmup", warmup, 0), *(("threads", n, 1) for n in threads)]
    for name, value, least in numbers:
        if value < least:
            raise ValueError(f"Expected {name} of at least {least}. Received: {value}. Raise it.")
    for name, values in (("threads", threads), ("xnnpack", kernels)):
        if not values:
            raise ValueError(f"Expected at least one value of {name}. Received: none. Name one.")


def _blocks(runners: list[LiteRT], runs: int, warmup: int) -> list[list[np.ndarray]]:
    """Returns the microseconds of the runs of each runner, block by block."""
    for runner in runners:
        runner.run(_example(runner))
        if warmup:
            runner.time(warmup, _PATIENCE / _BLOCKS)
    sizes = [len(part) for part in np.array_split(np.arange(runs), min(_BLOCKS, runs))]
    blocks: list[list[np.ndarray]] = [[] for _ in runners]
    for size in sizes:
        for runner, found in zip(runners, blocks, strict=True):
            found.append(runner.time(size, _PATIENCE / len(sizes)) / 1000)
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


def _batch(runner: LiteRT) -> int:
    """Returns the number of samples of one run."""
    return next(iter(runner.inputs.values()))[0][0] or 1


def _example(runner: LiteRT) -> dict[str, np.ndarray]:
    """Returns one batch: reals in [0, 1) and integers that are 0, which is a token of any model."""
    rng = np.random.default_rng(0)
    batch = {}
    for name, (shape, dtype) in runner.inputs.items():
        sizes = [size or 1 for size in shape]
        batch[name] = rng.random(sizes, "float32") if dtype.kind == "f" else np.zeros(sizes, dtype)
    return batch
