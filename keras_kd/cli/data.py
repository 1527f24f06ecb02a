"""Splits of the data set that `--data` names, checked against the models that take them."""

import argparse
from collections.abc import Iterator
from typing import Any

import keras
from keras import tree

from keras_kd import datasets
from keras_kd.budget.samples import read_samples
from keras_kd.cli.output import UsageError
from keras_kd.datasets.load import class_names, is_converted, split_names
from keras_kd.models.graph import input_shapes, is_functional

#: Splits for evaluation, in order of preference.
_TEST_SPLITS = ("test", "validation")
#: The part of the training data that is used if a command needs a validation split.
_HELD_OUT = 0.1


def load_training_data(
    options: argparse.Namespace, model: keras.Model, batch_size: int = 128, seed: int = 0
) -> Any:
    """Load the training split in shuffled batches."""
    return _load(options, options.train_split, model, batch_size, seed=seed)


def load_training_labels(options: argparse.Namespace, model: keras.Model) -> Iterator[Any]:
    """Yield the labels of the training split in order, batch by batch.

    Iterating over the shuffled batches would change their order in the training that follows.
    """
    for batch in _load(options, options.train_split, model, 1024, shuffle=False):
        yield batch[1]


def load_test_data(
    options: argparse.Namespace, model: keras.Model | None, batch_size: int = 128
) -> Any | None:
    """Load the test split in order; `None` if there is none and the options name none."""
    split = options.test_split
    if split is None:
        names = split_names(options.data)
        split = next((name for name in _TEST_SPLITS if name in names), None)
    return None if split is None else _load(options, split, model, batch_size, shuffle=False)


def require_test_data(options: argparse.Namespace, model: keras.Model | None) -> Any:
    """Load the test split in order.

    Raises:
        UsageError: If there is none.
    """
    dataset = load_test_data(options, model)
    if dataset is None:
        names = split_names(options.data)
        raise UsageError(
            f"--data {options.data} has no split 'test' or 'validation', only {names}: name one "
            "with --test-split"
        )
    return dataset


def load_splits(options: argparse.Namespace, model: keras.Model) -> tuple[Any, Any, Any | None]:
    """Return training, validation and test data; without a validation split a tenth of training.

    Raises:
        UsageError: If the validation split and the test split are the same.
    """
    names = split_names(options.data)
    test = options.test_split or next((name for name in names if name == "test"), None)
    split = options.validation_split or next((n for n in names if n == "validation"), None)
    if split is not None and split == test:
        raise UsageError(f"--test-split and --validation-split are both {split!r}")
    train = _load(options, options.train_split, model, 128, shuffle=False)
    tested = None if test is None else _load(options, test, model, 128, shuffle=False)
    if split is not None:
        return train, _load(options, split, model, 128, shuffle=False), tested
    # In an order that depends on the samples alone, and so not on their labels.
    samples = read_samples(train, f"--data {options.data}")
    cut = max(1, round(_HELD_OUT * len(samples)))
    print(f"There is no split 'validation': {cut:,} samples of training are used.", flush=True)
    parts = (samples.take(slice(cut, None)), samples.take(slice(0, cut)))
    return parts[0].arrays, parts[1].arrays, tested


def _load(
    options: argparse.Namespace,
    split: str,
    model: keras.Model | None,
    batch_size: int,
    **order: Any,
) -> Any:
    if model is not None and is_converted(options.data):
        order["input_shape"] = _file_shape(model)
    dataset = datasets.load(
        options.data, split, batch_size, skip_unreadable=options.skip_unreadable, **order
    )
    if model is not None:
        _check_shape(options.data, dataset.element_spec[0], model)
    return dataset


def class_names_for(options: argparse.Namespace, model: keras.Model | None) -> list[str] | None:
    """Return the given names of classes, or the data's if the model's one output has as many."""
    if options.class_names:
        return options.class_names
    names = None if options.data is None else class_names(options.data)
    single = names and is_functional(model) and len(model.outputs) == 1
    return list(names) if single and model.outputs[0].shape[-1] == len(names) else None


def _file_shape(model: keras.Model) -> tuple[int, ...] | None:
    """Return the shape that files are converted to; `None` if the model leaves it open."""
    shapes = [shape[1:] for shape in input_shapes(model) or ()]
    known = len(shapes) == 1 and shapes[0] and None not in shapes[0]
    return shapes[0] if known else None


def _check_shape(name: str, x: Any, model: keras.Model) -> None:
    """Reject samples whose shape differs from the model's input.

    Raises:
        ValueError: If the shapes differ.
    """
    received = [tuple(spec.shape)[1:] for spec in tree.flatten(x)]
    expected = [shape[1:] for shape in input_shapes(model) or ()]
    if len(received) != 1 or len(expected) != 1 or _matches(received[0], expected[0]):
        return  # The model matches several inputs by name and checks them itself.
    is_batched = _matches(received[0][1:], expected[0])
    raise ValueError(
        f"Expected samples of shape {expected[0]}, the input of '{model.name}'. Received: samples "
        f"of shape {received[0]} in --data {name}."
        + (
            " They look like batches: save single samples (`dataset.unbatch()`)."
            if is_batched
            else " Use data of the model's input shape."
        )
    )


def _matches(received: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    return len(received) == len(expected) and all(
        None in (one, other) or one == other for one, other in zip(received, expected, strict=True)
    )
