"""`keras-kd benchmark`: what a .tflite file costs on this machine."""

import argparse

from keras_kd import export
from keras_kd.cli import arguments
from keras_kd.cli.output import Outcome, table
from keras_kd.report import formatting as words

DESCRIPTION = """\
Times runs of FILE.tflite in LiteRT, in a process with nothing else in it, and counts what it costs.
Differences smaller than the noise say nothing."""
EXAMPLES = """\
examples:
  keras-kd benchmark student.tflite
  keras-kd benchmark student.tflite --threads 1 2 4 --xnnpack on off --json"""
_SWITCH = {"on": True, "off": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument("file", metavar="FILE.tflite", help="a file, whoever made it")
    parser.add_argument(
        "--runs", type=arguments.whole, default=200, help="how many to time (default: 200)"
    )
    parser.add_argument(
        "--threads",
        type=arguments.whole,
        nargs="+",
        default=[1],
        metavar="N",
        help="one number of threads, or several to compare (default: 1)",
    )
    parser.add_argument(
        "--xnnpack",
        choices=list(_SWITCH),
        nargs="+",
        default=["on"],
        help="whether XNNPACK's kernels take over what they can, or both to compare (default: on)",
    )


def run(options: argparse.Namespace) -> Outcome:
    """Times the file."""
    kernels = [_SWITCH[word] for word in options.xnnpack]
    print(f"Timing '{options.file}'.", flush=True)
    found = export.benchmark(
        options.file, runs=options.runs, threads=options.threads, xnnpack=kernels
    )
    rows = [
        [
            f"{latency.threads} {'thread' if latency.threads == 1 else 'threads'}, XNNPACK "
            f"{'on' if latency.xnnpack else 'off'}",
            words.duration(latency.median_us),
            words.duration(latency.p95_us),
            f"± {words.percent(latency.noise, 1)}",
            f"{latency.throughput:,.0f}",
            words.size(latency.memory),
        ]
        for latency in found.latencies
    ]
    header = ["", "median", "p95", "noise", "samples/s", "memory"]
    text = f"{table(header, rows)}\n{words.size(found.size)}, {words.count(found.parameters)} "
    text += f"parameters, {words.count(found.macs)} multiply-accumulates a run."
    return Outcome({"file": options.file, **found.as_dict()}, text)
