"""`keras-kd report`: compare models and files on one page."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

import keras

from keras_kd.cli import data
from keras_kd.cli.models import load_model
from keras_kd.cli.output import Outcome, UsageError, table
from keras_kd.files import read_json
from keras_kd.report import compare
from keras_kd.report.columns import columns_of

#: Columns of the table that is printed.
_COLUMNS = ("accuracy", "exact_match", "auc", "rmse", "r2", "agreement", "size", "latency_us")


def run(options: argparse.Namespace) -> Outcome:
    """Compare the models and write the report."""
    files = _files_by_name(options.models)
    history = {name: _read_curves(path) for name, path in _files_by_name(options.history).items()}
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
        data.require_test_data(options, first),
        options.out,
        teacher=options.teacher,
        student=options.student,
        class_names=data.class_names_for(options, first),
        history=history,
        verbose=int(sys.stderr.isatty()),
        outputs=options.outputs,
        ignore_class=options.ignore_class,
        **({"title": options.title} if options.title else {}),
    )
    columns = [column for column in columns_of(report) if column.key in _COLUMNS]
    header = ["", *(column.heading for column in columns)]
    rows = [
        [entry.name, *(column.cell(entry, report) for column in columns)]
        for entry in report.entries
    ]
    text = f"{table(header, rows)}\nWrote {options.out}: {report.samples} samples."
    return Outcome({"report": options.out, **report.as_dict()}, text)


def _files_by_name(arguments: list[str]) -> dict[str, Path]:
    """Return the files of `NAME=FILE` or `FILE` by name.

    Raises:
        UsageError: If a name is repeated.
    """
    files: dict[str, Path] = {}
    for argument in arguments:
        name, _, path = argument.rpartition("=") if not Path(argument).exists() else ("", "", "")
        path = Path(path or argument)
        name = name or path.name
        if name in files:
            raise UsageError(f"the name '{name}' is repeated: write NAME={path}")
        files[name] = path
    return files


def _read_curves(path: Path) -> dict[str, list[float]]:
    """Read learning curves from a JSON file.

    Raises:
        ValueError: If the file contains something else.
    """
    curves = None
    with contextlib.suppress(ValueError):
        curves = read_json(path)
    if curves is None or not all(
        isinstance(curve, list) and all(isinstance(value, (int, float)) for value in curve)
        for curve in curves.values()
    ):
        raise ValueError(
            f'Expected learning curves in JSON, such as {{"loss": [2.1, 0.9]}}. Received: '
            f"'{path}', which has other content. Pass the history.json of `keras-kd distill`."
        )
    return curves
