"""What the examples of the Teacher-Class Network share: options, compilation and the table."""

import argparse
from pathlib import Path

import keras


def parse(description, path, arguments, epochs, **flags):
    """Return the options of an example.

    Args:
        description: The docstring of the example.
        path: Its file.
        arguments: Its command-line arguments, `None` for those of the process.
        epochs: Epochs of the teacher, the students and the tuning.
        **flags: Help texts of further flags by name.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--epochs", type=int, nargs=3, help="of teacher, students, tuning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build", Path(path).stem))
    parser.add_argument("--quick", action="store_true", help="few samples, one epoch, two students")
    for flag, text in flags.items():
        parser.add_argument(f"--{flag}", action="store_true", help=text)
    options = parser.parse_args(arguments)
    options.epochs = options.epochs or ((1, 1, 1) if options.quick else epochs)
    options.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    return options


def compile_model(model, data, epochs, rate, loss=None, metric=lambda: "accuracy"):
    """Compile with Adam and a cosine schedule, by default for labels of classes."""
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(build_optimizer(rate, data, epochs), loss, metrics=[metric()])


def build_optimizer(rate, data, epochs):
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * int(data.cardinality()))
    return keras.optimizers.Adam(schedule)


def evaluate(model, test):
    """Return the first metric on the test data."""
    return model.evaluate(test, verbose=0)[1]


def print_rows(*rows, metric="test accuracy"):
    """Print name, metric and parameters of each model."""
    for name, value, model in rows:
        print(f"{name:<26}{value:>8.2%} {metric}{model.count_params():>12,} parameters")
