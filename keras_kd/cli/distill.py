"""`keras-kd distill`: train a student file from a teacher file."""

import argparse
import os
from pathlib import Path
from typing import Any

import keras

from keras_kd import losses
from keras_kd.cli import data
from keras_kd.cli.label_loss import LabelLoss, find_task, label_loss
from keras_kd.cli.models import load_model
from keras_kd.cli.output import Outcome, UsageError, keras_verbosity, table
from keras_kd.distillers.distiller import Distiller
from keras_kd.files import atomic_write, write_json
from keras_kd.models.declaration import OUTPUTS
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.hyperparameters import hyperparameter_holders

STUDENT, HISTORY = "student.keras", "history.json"


def run(options: argparse.Namespace) -> Outcome:
    """Train the student, write it and evaluate it."""
    terms = _make_losses(options.loss, options.temperature)
    _check_out(options)
    keras.utils.set_random_seed(options.seed)
    teacher = load_model(options.teacher, options.unsafe)
    student = load_model(options.student, options.unsafe)
    train = data.load_training_data(options, student, options.batch_size, options.seed)
    test = data.load_test_data(options, student, options.batch_size)
    task = find_task(student, data.load_training_labels(options, student), options.outputs)
    hard = label_loss(student, train.element_spec[1], task, options.outputs)
    terms = terms or [_default_loss(task, options.temperature)]
    terms += _make_hints(options.hint)
    distiller = _make_distiller(student, teacher, terms, task, options)
    steps = options.epochs * int(train.cardinality())
    optimizer = cosine_adam(options.learning_rate, steps)
    distiller.compile(optimizer, hard.loss, metrics=[hard.metric])
    history = run_fit(distiller, train, test, options.epochs)
    scores = {}
    if test is not None:
        own = label_loss(teacher, test.element_spec[1], task, options.outputs)
        scores = _evaluate(distiller, teacher, own, test)
    _write(options.out, student, history)
    return _outcome(options, teacher, student, hard, scores)


def cosine_adam(rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Return Adam with a learning rate that decays to zero in `steps` steps."""
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))


def run_fit(
    model: keras.Model, train: Any, test: Any | None, epochs: int
) -> dict[str, list[float]]:
    """Train a compiled model and return its learning curves."""
    # The data set shuffles itself; Keras would warn that it cannot.
    arguments = {"epochs": epochs, "verbose": keras_verbosity(), "shuffle": False}
    return model.fit(train, validation_data=test, **arguments).history


def _make_losses(
    names: list[str] | None, temperature: float | None
) -> list[losses.DistillationLoss]:
    """Return the losses of `--loss` with the temperature of `--temperature`, none by default.

    Raises:
        UsageError: If there is no loss of a name, or none of the losses has a temperature.
    """
    try:
        terms = [losses.get(name) for name in names or ()]
    except ValueError as error:
        raise UsageError(f"argument --loss: {error}") from error
    if temperature is None or not terms:
        return terms
    softened = [
        holder for term in terms for holder in hyperparameter_holders(term).get("temperature", [])
    ]
    if not softened:
        raise UsageError(
            "--temperature needs a loss with a temperature. Received: "
            f"{[term.name for term in terms]}"
        )
    for holder in softened:
        holder.temperature = temperature
    return terms


def _make_hints(hints: list[tuple[str, str, float]]) -> list[losses.DistillationLoss]:
    """Return the losses of `--hint`; several have numbered names."""
    numbers = [""] if len(hints) == 1 else [f"_{i + 1}" for i in range(len(hints))]
    return [
        losses.Hint(teacher, student, weight=weight, name=f"hint{number}")
        for number, (teacher, student, weight) in zip(numbers, hints, strict=True)
    ]


def _default_loss(task: str, temperature: float | None) -> losses.DistillationLoss:
    """Return the loss for a task.

    Raises:
        UsageError: If it has no temperature and one is given.
    """
    if task == "values":
        if temperature is not None:
            raise UsageError(
                "--temperature is for classes and yes-or-no labels; the outputs are numbers "
                "(regression), whose loss outputs_mse has none"
            )
        return losses.OutputsMSE()
    loss = losses.SoftTargets(activation="softmax" if task == "classes" else "sigmoid")
    if temperature is not None:
        loss.temperature = temperature
    return loss


def _make_distiller(
    student: keras.Model,
    teacher: keras.Model,
    terms: list[losses.DistillationLoss],
    task: str,
    options: argparse.Namespace,
) -> Distiller:
    # Numbers are compared unchanged, also after an activation.
    declared = "values" if task == "values" else options.outputs
    declared = declared if declared in OUTPUTS else "auto"
    return Distiller(
        student,
        Teacher(teacher, outputs=declared),
        terms,
        options.student_loss_weight,
        student_outputs=declared,
    )


def _check_out(options: argparse.Namespace) -> None:
    """Reject an output folder before training.

    Raises:
        UsageError: If an input file would be overwritten.
        NotADirectoryError: If the folder is not writable.
    """
    out = options.out
    sources = [Path(options.teacher).resolve(), Path(options.student).resolve()]
    if (out / STUDENT).resolve() in sources:
        raise UsageError(f"--out {out} would overwrite {out / STUDENT}, which is an input")
    folder = out if out.exists() else out.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise NotADirectoryError(
            "Expected --out to be a writable folder, or a new folder in one. Received: "
            f"'{out}'. Choose another folder."
        )


def _evaluate(
    distiller: Distiller, teacher: keras.Model, hard: LabelLoss, test: Any
) -> dict[str, float]:
    """Return the test scores of teacher and student."""
    teacher.compile(loss=hard.loss, metrics=[hard.metric])
    models, name = {"teacher": teacher, "student": distiller}, hard.metric.name
    results = {
        role: model.evaluate(test, verbose=0, return_dict=True) for role, model in models.items()
    }
    return {f"{role}_{name}": float(result[name]) for role, result in results.items()}


def _write(out: Path, student: keras.Model, history: dict[str, Any]) -> None:
    out.mkdir(exist_ok=True)
    with atomic_write(out / STUDENT) as temporary:
        student.save(temporary)
        write_json(out / HISTORY, history)


def _outcome(
    options: argparse.Namespace,
    teacher: keras.Model,
    student: keras.Model,
    hard: LabelLoss,
    scores: dict[str, float],
) -> Outcome:
    numbers = {
        "student": str(options.out / STUDENT),
        "history": str(options.out / HISTORY),
        "epochs": options.epochs,
        "task": hard.task,
        "teacher_parameters": teacher.count_params(),
        "student_parameters": student.count_params(),
        **scores,
    }
    name = hard.metric.name
    text = "{:.4g}" if hard.task == "values" else "{:.2%}"
    rows = [
        [
            role,
            f"{numbers[f'{role}_parameters']:,}",
            text.format(scores[f"{role}_{name}"]) if scores else "no test split",
        ]
        for role in ("teacher", "student")
    ]
    title = "test RMSE" if hard.task == "values" else "test accuracy"
    lines = table(["", "parameters", title], rows)
    return Outcome(numbers, f"{lines}\nWrote {options.out / STUDENT}, {options.out / HISTORY}.")
