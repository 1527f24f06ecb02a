"""`keras-kd export`: convert a Keras file to a verified .tflite file."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_kd import export
from keras_kd.cli import data
from keras_kd.cli.arguments import BEST
from keras_kd.cli.models import load_model
from keras_kd.cli.output import Outcome, UsageError, table
from keras_kd.export.conversion import CALIBRATED
from keras_kd.report import formatting


def run(options: argparse.Namespace) -> Outcome:
    """Convert, verify and write the model."""
    kind = options.quantization
    settings = {
        "io_dtype": options.io_dtype,
        "answer": options.answer,
        "outputs": options.outputs,
        "ignore_class": options.ignore_class,
    }
    is_calibrated = kind in (*CALIBRATED, BEST)
    if options.data is None and is_calibrated:
        raise UsageError(f"--quantization {kind} needs --data for calibration")
    if options.objective and kind != BEST:
        raise UsageError(f"--objective needs --quantization {BEST}. Received: {kind}")
    if options.max_drop is not None:
        settings["max_drop"] = options.max_drop
    model = load_model(options.model, options.unsafe)
    settings["labels"] = data.class_names_for(options, model)
    out = options.out or Path(options.model).with_suffix(".tflite")
    samples: dict[str, Any] = {}
    if options.data is not None:
        samples["verification"] = data.load_test_data(options, model)
        if is_calibrated or samples["verification"] is None:
            samples["calibration"] = data.load_training_data(options, model)
    if kind == BEST:
        calibration, objective = samples.pop("calibration"), options.objective or "latency"
        file = export.best(
            model, calibration, out, objective=objective, verbose=1, **samples, **settings
        )
    else:
        print(f"Converting '{options.model}' to {kind} and verifying the file.", flush=True)
        file = export.to_tflite(model, out, kind, **samples, **settings)
    return _outcome(file)


def _outcome(file: export.TFLiteModel) -> Outcome:
    scores = file.verification
    numbers = {
        "file": str(file.path),
        "quantization": file.quantization,
        "size": file.size,
        "verification": scores and scores.as_dict(),
        "tried": [attempt.as_dict() for attempt in file.tried],
    }
    lines = [f"Wrote {file.path}: {file.quantization}, {formatting.size(file.size)}."]
    if scores is None:
        lines.append("Not verified on samples: pass --data.")
    for name, score in scores.outputs.items() if scores else ():
        parts = ", ".join(_score_parts(score))
        lines.append(f"Output '{name}' on {scores.samples} samples: {parts}.")
    if file.tried:
        lines.append("\n" + _tried_table(file.tried))
    return Outcome(numbers, "\n".join(lines))


def _score_parts(score: export.Score) -> Iterator[str]:
    """Yield what is known of an output."""
    if score.agreement is not None:
        yield f"{formatting.percent(score.agreement)} agreement with the model"
    elif score.relative_difference is not None:
        yield (
            f"difference from the model {formatting.significant(score.relative_difference)} of "
            "its standard deviation"
        )
    if score.accuracy is not None:
        yield f"accuracy {formatting.percent(score.accuracy)} ({_format_drop(score.drop)})"
    if score.rmse is not None:
        yield f"root mean squared error {formatting.significant(score.rmse)}"


def _format_drop(points: float) -> str:
    if abs(points) < 0.005:
        return "same as the model"
    return f"{abs(points):.2f} points {'below' if points > 0 else 'above'} the model"


def _tried_table(attempts: tuple[export.Attempt, ...]) -> str:
    rows = [
        [
            attempt.quantization,
            formatting.size(attempt.size),
            formatting.duration(attempt.latency_us),
            "kept" if attempt.reason is None else "dropped",
        ]
        for attempt in attempts
    ]
    reasons = [f"{a.quantization}: {a.reason}." for a in attempts if a.reason is not None]
    return "\n".join([table(["format", "size", "time", ""], rows), *reasons])
