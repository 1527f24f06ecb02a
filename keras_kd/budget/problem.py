"""What a search is about: the teacher, the data, the task and how a student is scored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.budget.samples import Samples, read_samples
from keras_kd.export.output_scores import OutputScores
from keras_kd.export.scores import Evaluation, Score
from keras_kd.files import atomic_write
from keras_kd.models.declaration import OUTPUTS
from keras_kd.models.graph import require_built
from keras_kd.models.inputs import call_model, model_inputs
from keras_kd.models.output_evidence import OutputTask, decide_output
from keras_kd.training.label_loss import (
    LabelLoss,
    UndeclaredTaskError,
    find_task,
    label_loss,
    output_evidence,
)

#: The most samples, and numbers, of a batch that is predicted.
_BATCH, _NUMBERS = 500, 2**21
#: The part of the validation data that the search does not see if there are no test data.
_HELD_OUT = 0.5


@dataclass(frozen=True)
class Problem:
    """The teacher, its data and its task.

    Attributes:
        teacher: The teacher.
        train: What students are trained on; without labels if these are not used.
        validation: What they are chosen by, with labels: without own ones those of the teacher.
        test: What the final numbers are from.
        task: One of `TASKS`.
        outputs: What the output is declared as.
        held_out: Whether `test` was split off the validation data.
        by_teacher: Whether the labels of the validation data are the teacher's predictions.
        class_names: Names of the classes, if they are known.
    """

    teacher: keras.Model
    train: Samples
    validation: Samples
    test: Samples
    task: str
    outputs: str = "auto"
    held_out: bool = False
    by_teacher: bool = False
    class_names: Sequence[str] | None = None

    @property
    def score_name(self) -> str:
        """What a score is."""
        if self.task == "values":
            return "R²"
        return "agreement with the teacher" if self.by_teacher else "accuracy"

    @property
    def scored(self) -> str:
        """What the outputs are for `kd.export`."""
        return self.task if self.outputs == "auto" else self.outputs

    @property
    def declared(self) -> str:
        """What the outputs are for `kd.Teacher` and `kd.Distiller`."""
        declared = "values" if self.task == "values" else self.outputs
        return declared if declared in OUTPUTS else "auto"

    def label_loss(self, student: keras.Model) -> LabelLoss | None:
        """Return the loss of a student on the labels, `None` without labels."""
        if self.train.y is None:
            return None
        spec = keras.KerasTensor((None, *self.train.y.shape[1:]))
        return label_loss(student, spec, self.task, self.outputs)

    def score(self, model: keras.Model, samples: Samples | None = None) -> float:
        """Return the score of a Keras model on the validation data, or on others."""
        samples = self.validation if samples is None else samples
        values = predict(model, samples)
        output = replace(_output_task(model, self.scored), task=self.task)
        scores = OutputScores(output)
        scores.add(values, samples.y, None)
        return as_number(scores.score())


def make_problem(
    teacher: keras.Model,
    train: Any,
    validation: Any,
    test: Any = None,
    *,
    labels: bool = True,
    outputs: str = "auto",
    class_names: Sequence[str] | None = None,
) -> Problem:
    """Read the data and decide the task.

    Raises:
        ValueError: If the data do not fit the teacher, or the task is not known.
    """
    require_built(teacher, "The teacher")
    train, validation, test = _read(teacher, train, validation, test)
    _check_labels(train, labels)
    known = [part.y for part in (train, validation) if part.y is not None]
    task = _find_task(teacher, known, outputs)
    held_out = test is None
    if held_out:
        validation, test = _hold_out(validation)
    by_teacher = validation.y is None
    found = Problem(
        teacher, train if labels else train.without_labels(), validation, test, task, outputs
    )
    if by_teacher:
        validation, test = (_label_by_teacher(found, part) for part in (validation, test))
    elif test.y is None:
        raise ValueError("`validation` has labels and `test` has none. Pass labels for both")
    return replace(
        found,
        validation=validation,
        test=test,
        held_out=held_out,
        by_teacher=by_teacher,
        class_names=class_names,
    )


def _read(teacher: keras.Model, *data: Any) -> list[Samples | None]:
    """Return the training, validation and test samples; `None` where there are no data."""
    inputs = model_inputs(teacher)
    count = 1 if inputs is None else len(inputs.shapes)
    names = ("`train`", "`validation`", "`test`")
    return [
        None if given is None else read_samples(given, name, count)
        for name, given in zip(names, data, strict=True)
    ]


def _check_labels(train: Samples, labels: bool) -> None:
    """Check that there are labels if they are used, and no weights of labels otherwise.

    Raises:
        ValueError: If it is not so.
    """
    if labels and train.y is None:
        raise ValueError("`train` has no labels. Pass labels=False to train from the teacher alone")
    if not labels and train.weights is not None:
        raise ValueError("labels=False ignores labels, and `train` has sample weights. Omit these")


def _hold_out(validation: Samples) -> tuple[Samples, Samples]:
    """Split off samples that the search does not see.

    Raises:
        ValueError: If there are too few samples.
    """
    cut = round(len(validation) * (1 - _HELD_OUT))
    if not 0 < cut < len(validation):
        raise ValueError(
            "`validation` must have at least two samples: a half is kept apart for the final "
            f"numbers, because there is no `test`. Received: {len(validation)}"
        )
    return validation.take(slice(0, cut)), validation.take(slice(cut, None))


def as_number(scores: Score | Evaluation) -> float:
    """Return the accuracy, or R² of numbers; minus infinity if it is not a number."""
    value = scores.r2 if scores.task == "values" else scores.accuracy
    return float(value) if value is not None and np.isfinite(value) else float("-inf")


def predict(model: keras.Model, samples: Samples) -> np.ndarray:
    """Return the outputs of a model with one output."""
    # Without a graph, which TensorFlow would trace anew for each of many students.
    size = sum(part[0].size for part in tree.flatten(samples.x))
    batches = samples.batches(max(1, min(_BATCH, _NUMBERS // size)))
    parts = [call_model(model, x, training=False) for x, _ in batches]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])


def save_atomically(model: keras.Model, path: Any) -> None:
    """Write a model completely or not at all."""
    with atomic_write(path) as temporary:
        model.save(temporary)


def _find_task(teacher: keras.Model, labels: Sequence[Any], outputs: str) -> str:
    try:
        if labels:
            return find_task(teacher, labels, outputs)
        task = decide_output(output_evidence(teacher, outputs)).task
    except UndeclaredTaskError as error:
        raise ValueError(
            f"{error}. Declare it with `outputs`, as for kd.export.evaluate"
        ) from error
    if task is None:
        raise ValueError(
            f"It is not known what the output of '{teacher.name}' is without labels. Declare it: "
            "outputs='classes', 'binary', 'labels' or 'values'"
        )
    return task


def _output_task(model: keras.Model, outputs: str) -> OutputTask:
    return decide_output(output_evidence(model, outputs))


def _label_by_teacher(problem: Problem, samples: Samples) -> Samples:
    """Return samples with the predictions of the teacher as labels."""
    values = predict(problem.teacher, samples)
    if problem.task == "classes":
        return replace(samples, y=values.argmax(-1))
    if problem.task == "values":
        return replace(samples, y=values)
    output = _output_task(problem.teacher, problem.outputs)
    return replace(samples, y=(values > (0.5 if output.probabilities else 0.0)).astype("int64"))
