"""`keras-kd export`: a Keras file becomes a verified .tflite file."""

import argparse
from pathlib import Path
from typing import Any

from keras_kd import export
from keras_kd.cli import arguments, data
from keras_kd.cli.models import load_model
from keras_kd.cli.output import Outcome, UsageError, table
from keras_kd.export.conversion import CALIBRATED
from keras_kd.report import formatting as words

DESCRIPTION = """\
Converts MODEL.keras to a .tflite file that LiteRT runs, runs it beside the model on the test split,
and writes it only if it answers as the model does."""
EXAMPLES = """\
examples:
  keras-kd export student.keras --quantization int8 --data digits
  keras-kd export student.keras --quantization best --objective size --data digits
  keras-kd export student.keras --quantization float16 --out half.tflite"""
_BEST = "best"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument("model", metavar="MODEL.keras", help="a trained model")
    parser.add_argument(
        "--quantization",
        choices=[*export.QUANTIZATIONS, _BEST],
        default="float32",
        help="the format; best tries them all and keeps the best that holds the accuracy "
        "(default: float32)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE.tflite",
        type=Path,
        help="where to write (default: beside the model, under its name)",
    )
    data.add_arguments(parser, required=False)
    group = parser.add_argument_group("the file")
    group.add_argument(
        "--max-drop",
        type=arguments.not_negative,
        metavar="POINTS",
        help="points of accuracy that the file may lose (default: 2, for best 0.5)",
    )
    group.add_argument(
        "--objective",
        choices=["latency", "size"],
        help="what is best: the fastest file or the smallest (default: latency)",
    )
    group.add_argument(
        "--io-dtype",
        choices=["float32", "int8", "uint8", "int16"],
        default="float32",
        help="of inputs and outputs (default: float32)",
    )
    group.add_argument(
        "--answer",
        choices=["softmax", "sigmoid", "argmax"],
        help="what the file makes of an output that is logits (default: nothing)",
    )
    group.add_argument("--unsafe", action="store_true", help=arguments.UNSAFE)


def run(options: argparse.Namespace) -> Outcome:
    """Converts, verifies and writes."""
    kind, chosen = options.quantization, {"io_dtype": options.io_dtype, "answer": options.answer}
    if options.data is None and kind in (*CALIBRATED, _BEST):
        raise UsageError(f"--quantization {kind} needs --data, to see which values the layers have")
    if options.objective and kind != _BEST:
        raise UsageError(f"--objective goes with --quantization {_BEST}, not with {kind}")
    if options.max_drop is not None:
        chosen["max_drop"] = options.max_drop
    model = load_model(options.model, options.unsafe)
    out = options.out or Path(options.model).with_suffix(".tflite")
    samples: dict[str, Any] = {}
    if options.data is not None:
        samples["verification"] = data.to_measure_on(options, model)
        if kind in (*CALIBRATED, _BEST) or samples["verification"] is None:
            samples["calibration"] = data.to_learn_from(options, model)
    if kind == _BEST:
        calibration, objective = samples.pop("calibration"), options.objective or "latency"
        file = export.best(
            model, calibration, out, objective=objective, verbose=1, **samples, **chosen
        )
    else:
        print(f"Converting '{options.model}' to {kind} and verifying the file.", flush=True)
        file = export.to_tflite(model, out, kind, **samples, **chosen)
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
    lines = [f"Wrote {file.path}: {file.quantization}, {words.size(file.size)}."]
    if scores is None:
        lines.append("Not verified on samples: give --data.")
    for name, score in scores.outputs.items() if scores else ():
        line = f"On {scores.samples} samples '{name}' gives the model's answer on "
        line += f"{words.percent(score.agreement)}"
        if score.accuracy is not None:
            line += f", accuracy {words.percent(score.accuracy)} ({_drop(score.drop)})"
        lines.append(line + ".")
    if file.tried:
        lines.append("\n" + _tried(file.tried))
    return Outcome(numbers, "\n".join(lines))


def _drop(points: float) -> str:
    if abs(points) < 0.005:
        return "as the model"
    return f"{abs(points):.2f} points {'less' if points > 0 else 'more'} than the model"


def _tried(attempts: tuple[export.Attempt, ...]) -> str:
    rows = [
        [
            attempt.quantization,
            words.size(attempt.size),
            words.duration(attempt.latency_us),
            "kept" if attempt.reason is None else "dropped",
        ]
        for attempt in attempts
    ]
    reasons = [f"{a.quantization}: {a.reason}." for a in attempts if a.reason is not None]
    return "\n".join([table(["format", "size", "time", ""], rows), *reasons])
