"""`keras-kd demo`: distill, export and report on the embedded digits."""

import argparse
import shlex
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
from keras import layers

from keras_kd import datasets
from keras_kd.cli import distill, export, report
from keras_kd.cli.commands import add_command
from keras_kd.cli.output import Outcome

_IMAGES = 300
_BATCH = 32
_RATE = 5e-3
_TEACHER_EPOCHS = 30


def run(options: argparse.Namespace) -> Outcome:
    """Train a teacher, then run the other commands."""
    out, epochs = options.out, options.epochs
    out.mkdir(exist_ok=True)
    few = _write_few_images(out / "few")
    teacher, untrained, alone = (out / f"{n}.keras" for n in ("teacher", "untrained", "alone"))
    large, small = _network("teacher", (32, 64), 256), _network("student", (8, 16), 32)
    small.save(untrained)
    _train(large, "digits", min(epochs, _TEACHER_EPOCHS)).save(teacher)
    _train(small, few, epochs).save(alone)

    student, file, page = out / distill.STUDENT, out / "student.tflite", out / "report.html"
    settings = ["--batch-size", _BATCH, "--epochs", epochs, "--learning-rate", _RATE]
    models = [teacher, alone, student, f"int8={file}"]
    curves = f"{distill.STUDENT}={out / distill.HISTORY}"
    data = ["--data", "digits"]
    lines = {
        "distill": [distill, teacher, untrained, "--data", few, "--out", out, *settings],
        "export": [export, student, "--quantization", "int8", "--data", few],
        "report": [report, *models, "--student", "int8", *data, "--out", page, "--history", curves],
    }
    outcomes = {name: _run_command(name, *line) for name, line in lines.items()}
    numbers = {name: outcome.numbers for name, outcome in outcomes.items()}
    return Outcome(numbers, outcomes["report"].text)


def _run_command(name: str, module: ModuleType, *words: object) -> Outcome:
    """Print a command and run it."""
    parser = argparse.ArgumentParser(prog=f"keras-kd {name}")
    add_command(parser, name)
    line = list(map(str, words))
    print(f"\n$ {parser.prog} {shlex.join(line)}", flush=True)
    return module.run(parser.parse_args(line))


def _write_few_images(folder: Path) -> Path:
    """Write a data set of the first training digits and all test digits."""
    folder.mkdir(exist_ok=True)
    for split, count in (("train", _IMAGES), ("test", None)):
        images = datasets.load("digits", split, batch_size=None, shuffle=False)
        pairs = list(images.take(count or -1).as_numpy_iterator())
        x, y = (np.stack(part) for part in zip(*pairs, strict=True))
        np.savez(folder / f"{split}.npz", x=x, y=y)
    return folder


def _train(model: keras.Model, data: str | Path, epochs: int) -> keras.Model:
    """Train a model from the labels, with the settings of `distill`."""
    train = datasets.load(data, batch_size=_BATCH)
    print(f"\nTraining the {model.name} on the labels of {data}.", flush=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = epochs * int(train.cardinality())
    model.compile(distill.cosine_adam(_RATE, steps), loss, metrics=["accuracy"])
    distill.run_fit(model, train, None, epochs)
    return model


def _network(name: str, filters: tuple[int, ...], units: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1))
    for width in filters:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(units, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10)(x), name=name)
