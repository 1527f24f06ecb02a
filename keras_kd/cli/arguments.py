"""Values of the command line, refused where they are out of range."""

import argparse
import math

from keras_kd import losses
from keras_kd.losses import DistillationLoss

UNSAFE = (
    "run Python code that a model file holds (a Lambda layer's): only for files whose maker you "
    "trust, since it runs with your rights"
)


def whole(text: str) -> int:
    """Returns a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text}")
    return number


def positive(text: str) -> float:
    """Returns a number above 0."""
    return _above(text, 0.0, exclusive=True)


def not_negative(text: str) -> float:
    """Returns a number of at least 0."""
    return _above(text, 0.0, exclusive=False)


def loss(name: str) -> DistillationLoss:
    """Returns a distillation loss by its name, with its defaults."""
    try:
        return losses.get(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _above(text: str, least: float, exclusive: bool) -> float:
    number = float(text)
    if not math.isfinite(number) or number < least or (exclusive and number == least):
        word = "above" if exclusive else "of at least"
        raise argparse.ArgumentTypeError(f"expected a number {word} {least:g}, not {text}")
    return number
