"""How long a .tflite file takes for one run, measured on this machine."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_kd.export.interpreter import LiteRT, read
from keras_kd.export.tflite import TFLiteModel


@dataclass(frozen=True)
class Latency:
    """The time of one run of a file: one batch of its own size, 1 where that is free.

    Attributes:
        median_us: The median, in microseconds.
        p95_us: What 95 of 100 runs stay below, in microseconds.
        mean_us: The mean, in microseconds.
        min_us: The fastest run, in microseconds.
        runs: Number of runs that were timed.
        warmup: Number of runs before them.
        threads: Number of threads.
    """

    median_us: float
    p95_us: float
    mean_us: float
    min_us: float
    runs: int
    warmup: int
    threads: int


def benchmark(
    tflite: TFLiteModel | str | Path, *, runs: int = 200, warmup: int = 20, threads: int = 1
) -> Latency:
    """Times a .tflite file in LiteRT.

    Only the run itself is timed, not the copying of the input and the output.

    Args:
        tflite: The file: what `to_tflite` returned, or a path.
        runs: Number of runs to time. Defaults to 200.
        warmup: Number of runs before that, not timed. Defaults to 20.
        threads: Number of threads. Defaults to 1.

    Returns:
        The `Latency`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a .tflite model, or a number is out of range.

    Example:
    >>> latency = benchmark("model.tflite")
    >>> latency.median_us, latency.p95_us
    (6.8, 7.4)
    """
    for name, value, least in (("runs", runs, 1), ("warmup", warmup, 0), ("threads", threads, 1)):
        if value < least:
            raise ValueError(f"Expected {name} of at least {least}. Received: {value}. Raise it.")
    path = tflite.path if isinstance(tflite, TFLiteModel) else tflite
    runner = LiteRT(read(path), f"'{path}'", threads=threads)
    runner.run(_example(runner))
    for _ in range(warmup):
        runner.invoke()
    times = np.array([_time(runner) for _ in range(runs)]) / 1000
    return Latency(
        median_us=float(np.median(times)),
        p95_us=float(np.percentile(times, 95)),
        mean_us=float(times.mean()),
        min_us=float(times.min()),
        runs=runs,
        warmup=warmup,
        threads=threads,
    )


def _time(runner: LiteRT) -> int:
    """Returns the nanoseconds of one run."""
    start = time.perf_counter_ns()
    runner.invoke()
    return time.perf_counter_ns() - start


def _example(runner: LiteRT) -> dict[str, np.ndarray]:
    """Returns one batch: reals in [0, 1) and integers that are 0, which is a token of any model."""
    rng = np.random.default_rng(0)
    batch = {}
    for name, (shape, dtype) in runner.inputs.items():
        sizes = [size or 1 for size in shape]
        batch[name] = rng.random(sizes, "float32") if dtype.kind == "f" else np.zeros(sizes, dtype)
    return batch
