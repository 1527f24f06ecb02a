"""`keras-kd quantize-aware`: train a student file with the rounding of its int8 file."""

import argparse
import functools

from keras_kd.cli.fine_tuning import fine_tune
from keras_kd.cli.output import Outcome
from keras_kd.compression.quantize_aware import quantize_aware


def run(options: argparse.Namespace) -> Outcome:
    """Train the student, write the model for `keras-kd export` and evaluate it."""
    return fine_tune(options, functools.partial(quantize_aware, bits=options.bits))
