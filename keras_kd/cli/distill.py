"""`keras-kd distill`: a student file learns from a teacher file."""

import argparse
import os
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_kd import losses
from keras_kd.cli import arguments, data
from keras_kd.cli.label_loss import labels_loss
from keras_kd.cli.models import load_model
from keras_kd.cli.output import Outcome, UsageError, table, verbosity
from keras_kd.distillers.distiller import Distiller
from keras_kd.files import atomic_write, write_json
from keras_kd.training.hyperparameters import hyperparameters

DESCRIPTION = """\
Trains the student in STUDENT.keras from the teacher in TEACHER.keras and from the labels, with Adam
and a learning rate that falls to nought, and writes student.keras and history.json into DIR."""
EXAMPLES = """\
examples:
  keras-kd distill teacher.keras student.keras --data digits --out distilled
  keras-kd distill teacher.keras student.keras --data fashion_mnist --out distilled \\
      --epochs 60 --learning-rate 0.01 --temperature 4
  keras-kd distill teacher.keras student.keras --data ./mine --out distilled \\
      --loss logits_mse --student-loss-weight 0"""
STUDENT, HISTORY = "student.keras", "history.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument("teacher", metavar="TEACHER.keras", help="a trained model")
    parser.add_argument("student", metavar="STUDENT.keras", help="a built model, trained or not")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where to write")
    data.add_arguments(parser, required=True)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--loss",
        action="append",
        type=arguments.loss,
        metavar="NAME",
        help="a loss between teacher and student, such as soft_targets, logits_mse, dist; may be "
        "given several times (default: soft_targets)",
    )
    group.add_argument(
        "--temperature",
        type=arguments.positive,
        help="how soft the teacher's answers are (default: that of the loss)",
    )
    group.add_argument(
        "--student-loss-weight",
        type=arguments.not_negative,
        default=0.5,
        metavar="WEIGHT",
        help="weight of the labels' loss; 0 learns from the teacher alone (default: 0.5)",
    )
    group.add_argument("--epochs", type=arguments.whole, default=30, help="(default: 30)")
    group.add_argument("--batch-size", type=arguments.whole, default=128, help="(default: 128)")
    group.add_argument(
        "--learning-rate",
        type=arguments.positive,
        default=5e-3,
        metavar="RATE",
        help="at the start (default: 0.005)",
    )
    group.add_argument("--seed", type=int, default=0, help="of order and dropout (default: 0)")
    group.add_argument("--unsafe", action="store_true", help=arguments.UNSAFE)


def run(options: argparse.Namespace) -> Outcome:
    """Trains, writes and measures."""
    terms = options.loss or [losses.SoftTargets()]
    _set_temperature(terms, options.temperature)
    _check_out(options)
    keras.utils.set_random_seed(options.seed)
    teacher = load_model(options.teacher, options.unsafe)
    student = load_model(options.student, options.unsafe)
    train = data.to_learn_from(options, student, options.batch_size, options.seed)
    test = data.to_measure_on(options, student, options.batch_size)
    loss, accuracy = labels_loss(student, train.element_spec[1])
    distiller = Distiller(student, teacher, terms, options.student_loss_weight)
    steps = options.epochs * int(train.cardinality())
    distiller.compile(falling_rate(options.learning_rate, steps), loss, metrics=[accuracy])
    history = fit(distiller, train, test, options.epochs)
    found = {} if test is None else _measured(distiller, teacher, test)
    _write(options.out, student, history)
    return _outcome(options, teacher, student, found)


def falling_rate(rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Returns Adam with a learning rate that falls to nought in so many steps."""
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))


def fit(
    model: keras.Model, train: tf.data.Dataset, test: tf.data.Dataset | None, epochs: int
) -> dict[str, list[float]]:
    """Trains a compiled model, and returns its learning curves."""
    # The data set shuffles itself; Keras would warn that it cannot.
    arguments = {"epochs": epochs, "verbose": verbosity(), "shuffle": False}
    return model.fit(train, validation_data=test, **arguments).history


def _set_temperature(terms: list[losses.DistillationLoss], temperature: float | None) -> None:
    if temperature is None:
        return
    softened = [term for term in terms if "temperature" in hyperparameters(term)]
    if not softened:
        names = [term.name for term in terms]
        raise UsageError(f"--temperature goes with a loss that has one, not with {names}")
    for term in softened:
        term.temperature = temperature


def _check_out(options: argparse.Namespace) -> None:
    """Refuses a place to write to before anything is trained.

    Raises:
        UsageError: If what would be written is what was read.
        NotADirectoryError: If nothing can be written there.
    """
    out = options.out
    sources = [Path(options.teacher).resolve(), Path(options.student).resolve()]
    if (out / STUDENT).resolve() in sources:
        raise UsageError(f"--out {out} would overwrite {out / STUDENT}, which is read")
    folder = out if out.exists() else out.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise NotADirectoryError(
            "Expected --out as a folder that can be written, or a new one in such a folder. "
            f"Received: '{out}'. Choose another place."
        )


def _measured(
    distiller: Distiller, teacher: keras.Model, test: tf.data.Dataset
) -> dict[str, float]:
    loss, accuracy = labels_loss(teacher, test.element_spec[1])
    teacher.compile(loss=loss, metrics=[accuracy])
    models = {"teacher": teacher, "student": distiller}
    results = {
        name: model.evaluate(test, verbose=0, return_dict=True) for name, model in models.items()
    }
    return {f"{name}_accuracy": float(result["accuracy"]) for name, result in results.items()}


def _write(out: Path, student: keras.Model, history: dict[str, Any]) -> None:
    out.mkdir(exist_ok=True)
    with atomic_write(out / STUDENT) as temporary:
        student.save(temporary)
        write_json(out / HISTORY, history)


def _outcome(
    options: argparse.Namespace,
    teacher: keras.Model,
    student: keras.Model,
    found: dict[str, float],
) -> Outcome:
    numbers = {
        "student": str(options.out / STUDENT),
        "history": str(options.out / HISTORY),
        "epochs": options.epochs,
        "teacher_parameters": teacher.count_params(),
        "student_parameters": student.count_params(),
        **found,
    }
    rows = [
        [
            role,
            f"{numbers[f'{role}_parameters']:,}",
            f"{found[f'{role}_accuracy']:.2%}" if found else "not measured: no test split",
        ]
        for role in ("teacher", "student")
    ]
    text = table(["", "parameters", "test accuracy"], rows)
    return Outcome(numbers, f"{text}\nWrote {options.out / STUDENT}, {options.out / HISTORY}.")
