"""`keras-kd prune`: set the smallest weights of a student file to zero."""

import argparse
import functools

from keras_kd.cli.fine_tuning import fine_tune
from keras_kd.cli.output import Outcome
from keras_kd.compression.prune import prune


def run(options: argparse.Namespace) -> Outcome:
    """Prune the student during a training, write it and evaluate it."""
    return fine_tune(options, functools.partial(prune, sparsity=options.sparsity))
