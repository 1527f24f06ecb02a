"""The loss on the labels of a command, whose errors name the option that declares the task."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from keras_kd.cli.output import UsageError
from keras_kd.training import label_loss as rules
from keras_kd.training.label_loss import LabelLoss, UndeclaredTaskError


def find_task(model: keras.Model, labels: Iterable[Any], outputs: str) -> str:
    """Return the task of a model's output; see `keras_kd.training.label_loss.find_task`.

    Raises:
        UsageError: If `--outputs` must declare it.
    """
    with name_the_option():
        return rules.find_task(model, labels, outputs)


def label_loss(model: keras.Model, labels: Any, task: str, outputs: str) -> LabelLoss:
    """Return the loss and the metric of a task.

    Raises:
        UsageError: If `--outputs` must declare whether the output is logits or probabilities.
    """
    with name_the_option():
        return rules.label_loss(model, labels, task, outputs)


@contextlib.contextmanager
def name_the_option() -> Iterator[None]:
    """Turn an error about an undeclared task into one that names `--outputs`."""
    try:
        yield
    except UndeclaredTaskError as error:
        raise UsageError(
            f"{error}: pass --outputs logits, probabilities, values, classes, binary or labels"
        ) from error
