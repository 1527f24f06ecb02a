"""`keras-kd report`: models and files side by side on one page."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import keras

from keras_kd.cli import arguments, data
from keras_kd.cli.models import load_model
from keras_kd.cli.output import Outcome, UsageError, table
from keras_kd.report import compare
from keras_kd.report import formatting as words

DESCRIPTION = """\
Compares .keras and .tflite files on the test split and writes one page: a single HTML file that
needs no network, or Markdown or JSON. The first model is the teacher, the last one the student."""
EXAMPLES = """\
examples:
  keras-kd report teacher.keras student.keras student.tflite --data digits --out report.html
  keras-kd report teacher=big.keras int8=small.tflite --data digits --out report.md
  keras-kd report teacher.keras student=distilled/student.keras --data digits \\
      --history student=distilled/history.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument(
        "models",
        metavar="[NAME=]FILE",
        nargs="+",
        help="a .keras or .tflite file, and what the page calls it (default: its file's name)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        default="report.html",
        help="ending in .html, .md or .json (default: report.html)",
    )
    data.add_arguments(parser, required=True, train=False)
    group = parser.add_argument_group("the page")
    group.add_argument("--teacher", metavar="NAME", help="whom the others are held against")
    group.add_argument("--student", metavar="NAME", help="whose answers are shown")
    group.add_argument(
        "--history",
        action="append",
        default=[],
        metavar="NAME=FILE.json",
        help="the learning curves of a model, as distill writes them; may be given several times",
    )
    group.add_argument("--title", help="the heading")
    group.add_argument("--unsafe", action="store_true", help=arguments.UNSAFE)


def run(options: argparse.Namespace) -> Outcome:
    """Compares and writes."""
    files = _named(options.models)
    history = {name: _curves(path) for name, path in _named(options.history).items()}
    unknown = sorted(set(history) - set(files))
    if unknown:
        raise UsageError(f"--history names {unknown}, but the models are {list(files)}")
    models: dict[str, Any] = {
        name: load_model(path, options.unsafe) if path.suffix == ".keras" else path
        for name, path in files.items()
    }
    first = next((m for m in models.values() if isinstance(m, keras.Model)), None)
    report = compare(
        models,
        data.required_to_measure_on(options, first),
        options.out,
        teacher=options.teacher,
        student=options.student,
        history=history,
        verbose=int(sys.stderr.isatty()),
        **({"title": options.title} if options.title else {}),
    )
    rows = [
        [
            entry.name,
            words.percent(entry.accuracy),
            words.percent(entry.agreement),
            words.size(entry.size),
            words.duration(entry.latency_us),
        ]
        for entry in report.entries
    ]
    header = ["", "accuracy", "as the teacher", "size", "time"]
    text = f"{table(header, rows)}\nWrote {options.out}: {report.samples} samples."
    return Outcome({"report": options.out, **report.as_dict()}, text)


def _named(arguments: list[str]) -> dict[str, Path]:
    """Returns files by name: `NAME=FILE`, or a file by its own name.

    Raises:
        UsageError: If a name is there twice.
    """
    files: dict[str, Path] = {}
    for argument in arguments:
        name, _, path = argument.rpartition("=") if not Path(argument).exists() else ("", "", "")
        path = Path(path or argument)
        name = name or path.name
        if name in files:
            raise UsageError(f"'{name}' is there twice: write NAME={path}")
        files[name] = path
    return files


def _curves(path: Path) -> dict[str, list[float]]:
    """Reads learning curves.

    Raises:
        ValueError: If the file holds others.
    """
    curves = None
    with contextlib.suppress(ValueError):
        curves = json.loads(path.read_text())
    if not isinstance(curves, dict) or not all(
        isinstance(curve, list) and all(isinstance(value, (int, float)) for value in curve)
        for curve in curves.values()
    ):
        raise ValueError(
            f'Expected learning curves in JSON, such as {{"loss": [2.1, 0.9]}}. Received: '
            f"'{path}', which holds others. Give the history.json of `keras-kd distill`."
        )
    return curves
