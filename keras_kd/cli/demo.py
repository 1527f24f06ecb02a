"""`keras-kd demo`: the whole way on the embedded digits, command after command."""

import argparse
import shlex
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
from keras import layers

from keras_kd import datasets
from keras_kd.cli import arguments, distill, export, report
from keras_kd.cli.output import Outcome

DESCRIPTION = """\
Trains a teacher on the handwritten digits that scikit-learn brings along. For a small student only
300 of them are left, as when a model came without its data: it learns from their labels alone, and
through distill, export and report from the teacher. Says each command; takes about a minute and
needs no network."""
EXAMPLES = """\
examples:
  keras-kd demo
  keras-kd demo --out tried --epochs 30"""
_IMAGES = 300
_BATCH = 32
_RATE = 5e-3
_TEACHER_EPOCHS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("keras-kd-demo"),
        help="where to write (default: keras-kd-demo)",
    )
    parser.add_argument(
        "--epochs",
        type=arguments.whole,
        default=100,
        help="of the student; the teacher has at most 30 (default: 100)",
    )


def run(options: argparse.Namespace) -> Outcome:
    """Trains a teacher, then runs the other commands."""
    out, epochs = options.out, options.epochs
    out.mkdir(exist_ok=True)
    few = _few_images(out / "few")
    teacher, untrained, alone = (out / f"{n}.keras" for n in ("teacher", "untrained", "alone"))
    large, small = _network("teacher", (32, 64), 256), _network("student", (8, 16), 32)
    small.save(untrained)
    _train(large, "digits", min(epochs, _TEACHER_EPOCHS)).save(teacher)
    _train(small, few, epochs).save(alone)

    taught, file, page = out / distill.STUDENT, out / "student.tflite", out / "report.html"
    settings = ["--batch-size", _BATCH, "--epochs", epochs, "--learning-rate", _RATE]
    models = [teacher, alone, taught, f"int8={file}"]
    curves = f"{distill.STUDENT}={out / distill.HISTORY}"
    lines = [
        [distill, teacher, untrained, "--data", few, "--out", out, *settings],
        [export, taught, "--quantization", "int8", "--data", few],
        [report, *models, "--data", "digits", "--out", page, "--history", curves],
    ]
    outcomes = {_name(module): _run(module, *line) for module, *line in lines}
    numbers = {name: outcome.numbers for name, outcome in outcomes.items()}
    return Outcome(numbers, outcomes["report"].text)


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _run(module: ModuleType, *line: object) -> Outcome:
    """Says a command, and runs it."""
    parser = argparse.ArgumentParser(prog=f"keras-kd {_name(module)}")
    module.add_arguments(parser)
    words = list(map(str, line))
    print(f"\n$ {parser.prog} {shlex.join(words)}", flush=True)
    return module.run(parser.parse_args(words))


def _few_images(folder: Path) -> Path:
    """Writes a data set of the first training digits, and of all that are tested."""
    folder.mkdir(exist_ok=True)
    for split, count in (("train", _IMAGES), ("test", None)):
        images = datasets.load("digits", split, batch_size=None, shuffle=False)
        pairs = list(images.take(count or -1).as_numpy_iterator())
        x, y = (np.stack(part) for part in zip(*pairs, strict=True))
        np.savez(folder / f"{split}.npz", x=x, y=y)
    return folder


def _train(model: keras.Model, data: str | Path, epochs: int) -> keras.Model:
    """Trains a model from the labels, as `distill` trains a student."""
    train = datasets.load(data, batch_size=_BATCH)
    print(f"\nThe {model.name} learns from the labels of {data}.", flush=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = epochs * int(train.cardinality())
    model.compile(distill.falling_rate(_RATE, steps), loss, metrics=["accuracy"])
    distill.fit(model, train, None, epochs)
    return model


def _network(name: str, filters: tuple[int, ...], units: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1))
    for width in filters:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(units, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10)(x), name=name)
