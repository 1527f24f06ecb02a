"""What `keras-kd prune` and `keras-kd quantize-aware` share: train a student further, write it."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_kd.cli import data
from keras_kd.cli.distill import cosine_adam
from keras_kd.cli.label_loss import LabelLoss, find_task, label_loss
from keras_kd.cli.models import load_model
from keras_kd.cli.output import Outcome, UsageError, keras_verbosity, table
from keras_kd.compression.layer_plan import Result
from keras_kd.files import atomic_write, require_writable
from keras_kd.models.declaration import OUTPUTS
from keras_kd.teachers.teacher import Teacher


def fine_tune(options: argparse.Namespace, technique: Callable[..., Result]) -> Outcome:
    """Train the student further with a technique, write the result and evaluate both.

    Args:
        options: The options of the command.
        technique: Called with the student and the arguments of `kd.compression.Training`.
    """
    if options.out.resolve() in [Path(p).resolve() for p in (options.model, options.teacher) if p]:
        raise UsageError(f"--out {options.out} would overwrite an input")
    require_writable(options.out, ".keras")
    keras.utils.set_random_seed(options.seed)
    student = load_model(options.model, options.unsafe)
    teacher = load_model(options.teacher, options.unsafe) if options.teacher else None
    train = data.load_training_data(options, student, options.batch_size, options.seed)
    test = data.load_test_data(options, student, options.batch_size)
    task = find_task(student, data.load_training_labels(options, student), options.outputs)
    hard = label_loss(student, train.element_spec[1], task, options.outputs)
    declared = "values" if task == "values" else options.outputs
    declared = declared if declared in OUTPUTS else "auto"
    steps = options.epochs * int(train.cardinality())
    result = technique(
        student,
        data=train,
        epochs=options.epochs,
        optimizer=cosine_adam(options.learning_rate, steps),
        loss=hard.loss,
        metrics=[hard.metric],
        teachers=teacher and Teacher(teacher, outputs=declared),
        student_outputs=declared,
        verbose=keras_verbosity(),
    )
    models = {"before": student, "after": result.model}
    scores = {} if test is None else {k: _score(model, hard, test) for k, model in models.items()}
    with atomic_write(options.out) as temporary:
        result.model.save(temporary)
    return _outcome(options, result, hard, scores)


def _score(model: keras.Model, hard: LabelLoss, test: Any) -> float:
    model.compile(loss=hard.loss, metrics=[hard.metric])
    return float(model.evaluate(test, verbose=0, return_dict=True)[hard.metric.name])


def _outcome(
    options: argparse.Namespace, result: Result, hard: LabelLoss, scores: dict[str, float]
) -> Outcome:
    name = hard.metric.name
    numbers = {
        "model": str(options.out),
        "epochs": options.epochs,
        "task": hard.task,
        **{f"{key}_{name}": value for key, value in scores.items()},
        "layers": [
            {"name": plan.name, "action": plan.action, "reason": plan.reason}
            for plan in result.layers
        ],
    }
    text = "{:.4g}" if hard.task == "values" else "{:.2%}"
    title = "test RMSE" if hard.task == "values" else "test accuracy"
    rows = [[key, text.format(value)] for key, value in scores.items()]
    lines = table(["", title], rows) if scores else "Not evaluated: there is no test split."
    return Outcome(numbers, f"{lines}\nWrote {options.out}.")
