"""`keras-kd compress`: from a teacher file and a budget to a verified .tflite file."""

import argparse

from keras_kd.budget.compress import compress
from keras_kd.budget.compression import BudgetError, Compression
from keras_kd.budget.progress import format_seconds
from keras_kd.cli import data
from keras_kd.cli.messages import name_options
from keras_kd.cli.models import load_model
from keras_kd.cli.output import Outcome, UsageError

_LIMITS = ("max_size", "max_latency", "max_macs", "max_drop")
#: The exit code if no file is within the limits.
NOT_MET = 3


def run(options: argparse.Namespace) -> Outcome:
    """Search, write the file and its report."""
    if all(getattr(options, name) is None for name in _LIMITS):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in _LIMITS)
        raise UsageError(f"pass at least one of {names}")
    teacher = load_model(options.teacher, options.unsafe)
    train, validation, test = data.load_splits(options, teacher)
    try:
        result = compress(
            teacher,
            train,
            validation,
            test=test,
            max_bytes=options.max_size,
            max_latency_us=options.max_latency,
            max_macs=options.max_macs,
            max_drop=options.max_drop,
            labels=not options.no_labels,
            outputs=options.outputs,
            class_names=data.class_names_for(options, teacher),
            trials=options.trials,
            time_limit=options.time_limit,
            path=options.out,
            storage=options.storage,
            seed=options.seed,
        )
    except BudgetError as error:
        return _outcome(error.compression, name_options(str(error), options), NOT_MET)
    return _outcome(result, "", 0)


def _outcome(result: Compression, message: str, code: int) -> Outcome:
    numbers = {"file": str(result.best.path), **result.as_dict(result.chosen.path.parent)}
    verb = "Wrote" if result.met else "NOT within the limits:"
    lines = [
        f"{verb} {result.best.path}: {result.chosen.quantization}, "
        f"{result.drop:.2f} points below the teacher on {result.test}.",
        result.table,
        f"Report: {result.report}. Time: {format_seconds(result.seconds)}.",
    ]
    return Outcome(numbers, "\n".join([*filter(None, [message]), *lines]), code)
