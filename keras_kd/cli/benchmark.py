"""`keras-kd benchmark`: latency, memory and size of a .tflite file on this machine."""

import argparse

from keras_kd import export
from keras_kd.cli.arguments import XNNPACK
from keras_kd.cli.output import Outcome, table
from keras_kd.report import formatting


def run(options: argparse.Namespace) -> Outcome:
    """Benchmark the file."""
    print(f"Timing '{options.file}'.", flush=True)
    result = export.benchmark(
        options.file,
        runs=options.runs,
        threads=options.threads,
        xnnpack=[XNNPACK[word] for word in options.xnnpack],
    )
    rows = [
        [
            f"{latency.threads} {'thread' if latency.threads == 1 else 'threads'}, XNNPACK "
            f"{'on' if latency.xnnpack else 'off'}",
            formatting.duration(latency.median_us),
            formatting.duration(latency.p95_us),
            f"± {formatting.percent(latency.noise, 1)}",
            f"{latency.throughput:,.0f}",
            formatting.size(latency.memory),
        ]
        for latency in result.latencies
    ]
    header = ["", "median", "p95", "noise", "samples/s", "memory"]
    costs = (
        f"{formatting.size(result.size)}, {formatting.count(result.parameters)} parameters, "
        f"{formatting.count(result.macs)} multiply-accumulate operations per run."
    )
    numbers = {"file": options.file, **result.as_dict()}
    return Outcome(numbers, f"{table(header, rows)}\n{costs}")
