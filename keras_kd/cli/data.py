"""What `--data` names: its splits, checked against the models that take it."""

import argparse
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd import datasets
from keras_kd.cli.output import UsageError
from keras_kd.models.graph import input_shapes

#: What is measured on, where it is not said.
_HELD_OUT = ("test", "validation")
HELP = (
    "'digits', a name of TensorFlow Datasets ('mnist', 'fashion_mnist', ...), or a folder with "
    "train, test, ... saved by tf.data.Dataset.save, or with train.npz, test.npz, ... (arrays x "
    "and y)"
)


def add_arguments(parser: argparse.ArgumentParser, required: bool, train: bool = True) -> None:
    """Adds `--data` and which splits of it to use.

    Args:
        parser: The command's parser.
        required: Whether there must be data.
        train: Whether the command uses a training split. Defaults to `True`.
    """
    group = parser.add_argument_group("data")
    group.add_argument("--data", metavar="NAME_OR_DIR", required=required, help=HELP)
    if train:
        group.add_argument(
            "--train-split",
            default="train",
            metavar="SPLIT",
            help="what to learn from, or to calibrate with (default: train)",
        )
    group.add_argument(
        "--test-split",
        metavar="SPLIT",
        help="what to measure on (default: test, or validation where there is none)",
    )


def to_learn_from(
    options: argparse.Namespace, model: keras.Model, batch_size: int = 128, seed: int = 0
) -> tf.data.Dataset:
    """Returns the training data, shuffled, in batches that the model takes."""
    return _loaded(options, options.train_split, model, batch_size, seed=seed)


def to_measure_on(
    options: argparse.Namespace, model: keras.Model | None, batch_size: int = 128
) -> tf.data.Dataset | None:
    """Returns the data to measure on, in order; `None` where there is none and none is named."""
    split = options.test_split
    if split is None:
        names = datasets.describe(options.data).splits
        split = next((name for name in _HELD_OUT if name in names), None)
    return None if split is None else _loaded(options, split, model, batch_size, shuffle=False)


def required_to_measure_on(
    options: argparse.Namespace, model: keras.Model | None
) -> tf.data.Dataset:
    """Returns the data to measure on.

    Raises:
        UsageError: If there is none.
    """
    found = to_measure_on(options, model)
    if found is None:
        names = list(datasets.describe(options.data).splits)
        raise UsageError(
            f"--data {options.data} has no split 'test' or 'validation', only {names}: name one "
            "with --test-split"
        )
    return found


def _loaded(
    options: argparse.Namespace,
    split: str,
    model: keras.Model | None,
    batch_size: int,
    **order: Any,
) -> tf.data.Dataset:
    dataset = datasets.load(options.data, split, batch_size, **order)
    if model is not None:
        _check(options.data, dataset.element_spec[0], model)
    return dataset


def _check(name: str, x: Any, model: keras.Model) -> None:
    """Refuses samples of another shape than the model takes.

    Raises:
        ValueError: If they are.
    """
    given = [tuple(spec.shape)[1:] for spec in tree.flatten(x)]
    wanted = [shape[1:] for shape in input_shapes(model) or ()]
    if len(given) != 1 or len(wanted) != 1 or _fits(given[0], wanted[0]):
        return  # Of several inputs the names decide, and the model sees to it.
    batches = " They look like batches: save single samples (`dataset.unbatch()`)."
    raise ValueError(
        f"Expected samples of shape {wanted[0]}, as '{model.name}' takes them. Received: samples "
        f"of shape {given[0]} in --data {name}."
        + (batches if _fits(given[0][1:], wanted[0]) else " Use data that was made for the model.")
    )


def _fits(given: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(given) == len(wanted) and all(
        None in (one, other) or one == other for one, other in zip(given, wanted, strict=True)
    )
