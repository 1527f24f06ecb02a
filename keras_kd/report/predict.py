"""One pass over the data set with all models of a report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.models.task import DECLARE, MEANINGS, task_from_labels
from keras_kd.report.changes import Changes
from keras_kd.report.disagreements import Disagreements
from keras_kd.report.metrics import ClassMetrics, LabelMetrics, ValueMetrics
from keras_kd.report.predictors import Predictor
from keras_kd.training.batches import as_batches, count_batches, unpack_x_y
from keras_kd.training.label_arrays import read_labels
from keras_kd.training.labels import UNLABELED

Metrics = ClassMetrics | LabelMetrics | ValueMetrics


@dataclass(frozen=True)
class Predictions:
    """What one pass over the data finds.

    Attributes:
        metrics: The metrics of each model.
        disagreements: The samples for which teacher and student predict different classes.
        samples: Number of samples.
        changes: The predictions of teacher and student by class; `None` without classes.
    """

    metrics: dict[str, Metrics]
    disagreements: Disagreements
    samples: int
    changes: Changes | None


def predict_all(
    predictors: list[Predictor],
    dataset: Iterable[Any],
    teacher: str,
    student: str,
    samples: int,
    verbose: int,
    ignore_class: int | None = None,
) -> Predictions:
    """Run every model on every batch.

    Raises:
        ValueError: If there are no samples or no labels, or models and labels do not match.
    """
    comparison, disagreements, count = None, Disagreements(samples), 0
    batches = as_batches(dataset, "compare", inputs=predictors[0].input_count)
    progress = keras.utils.Progbar(count_batches(batches), unit_name="batch") if verbose else None
    for batch in batches:
        x, y = (tree.map_structure(np.asarray, part) for part in _unpack(batch))
        values = {predictor.name: predictor.predict(x) for predictor in predictors}
        if comparison is None:
            roles = (teacher, student)
            comparison = _Comparison(predictors, values, _single(y), roles, ignore_class)
        classes = comparison.add(values, _single(y))
        if classes is not None and classes[teacher][0].ndim == 1:
            disagreements.update(x, comparison.labels, classes[teacher], classes[student])
        count += len(next(iter(values.values())))
        if progress:
            progress.add(1)
    if not count or not comparison.metrics[teacher].labeled:
        raise ValueError(
            f"Expected a data set with labels. Received: {count} samples, none with a label. Pass "
            "batches of (x, y)."
        )
    return Predictions(comparison.metrics, disagreements, count, comparison.changes)


class _Comparison:
    """The metrics of all models, for their common task.

    Args:
        predictors: The models.
        values: Their outputs of the first batch, by name.
        labels: The labels of the first batch.
        roles: Names of the model that the others are compared with, and of the student.
        ignore_class: A label that is not counted.
    """

    def __init__(
        self,
        predictors: Sequence[Predictor],
        values: Mapping[str, np.ndarray],
        labels: np.ndarray,
        roles: tuple[str, str],
        ignore_class: int | None,
    ) -> None:
        self._predictors = {predictor.name: predictor for predictor in predictors}
        self._teacher, self._student = roles
        ignored = [predictor.ignored_class for predictor in predictors]
        self._ignore_class = next((c for c in [ignore_class, *ignored] if c is not None), None)
        self.task = _common_task(self._predictors, values, labels)
        self.metrics = self._make_metrics(values)
        decides = self.task in ("classes", "binary")
        #: The predictions of teacher and student by class.
        self.changes = Changes(len(self.metrics[self._teacher].per_class)) if decides else None
        #: The class labels of the last batch.
        self.labels: np.ndarray | None = None

    def add(self, values: Mapping[str, np.ndarray], labels: np.ndarray) -> Any:
        """Add a batch; return the classes and their log-probabilities by model, if it has some."""
        if self.task in ("labels", "values"):
            self._add_numbers(values, labels)
            return None
        read = {name: self._predictors[name].as_classes(one) for name, one in values.items()}
        units = 1 if self.task == "binary" else len(self.metrics[self._teacher].per_class)
        shape = (*read[self._teacher][0].shape, units)
        classes, known = read_labels("output", self.task, labels, shape, self._ignore_class)
        self.labels = np.where(known, classes, UNLABELED).astype("int64")
        flat = {name: _flatten(*output) for name, output in read.items()}
        for name, (predicted, log_probabilities) in flat.items():
            _check_indices(name, predicted, len(self.metrics[name].per_class))
            self.metrics[name].update(
                predicted, self.labels.reshape(-1), log_probabilities, *flat[self._teacher]
            )
        predicted = (flat[name][0] for name in (self._teacher, self._student))
        self.changes.update(self.labels.reshape(-1), *predicted)
        return read

    def _add_numbers(self, values: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
        shape = values[self._teacher].shape
        targets, known = read_labels("output", self.task, labels, shape, self._ignore_class)
        targets = np.where(known, targets, np.nan)
        if self.task == "labels":
            values = {n: self._predictors[n].as_log_odds(one) for n, one in values.items()}
        for name, one in values.items():
            self.metrics[name].update(one, targets, values[self._teacher])

    def _make_metrics(self, values: Mapping[str, np.ndarray]) -> dict[str, Metrics]:
        """Return new metrics for each model.

        Raises:
            ValueError: If the shapes of their outputs differ.
        """
        if self.task in ("labels", "values"):
            shapes = {name: one.shape for name, one in values.items()}
            if len(set(shapes.values())) != 1:
                raise ValueError(
                    f"Expected models of the same outputs. Received: outputs of shapes {shapes}. "
                    "Compare models of one problem."
                )
            units = next(iter(shapes.values()))[-1]
            labels = self.task == "labels"
            return {n: LabelMetrics(units) if labels else ValueMetrics() for n in values}
        classes = _number_of_classes(
            {name: self._predictors[name].as_classes(one) for name, one in values.items()}
        )
        return {name: ClassMetrics(classes, self.task == "binary") for name in values}


def _common_task(
    predictors: Mapping[str, Predictor], values: Mapping[str, np.ndarray], labels: np.ndarray
) -> str:
    """Return the task of all models: what they tell, otherwise what the labels tell.

    Raises:
        ValueError: If the models have different tasks, or the task is not known.
    """
    outputs = {name: predictors[name].output(one) for name, one in values.items()}
    found = {
        name: "classes" if predictors[name].gives_indices else output.task
        for name, output in outputs.items()
    }
    tasks = set(found.values()) - {None}
    if tasks == {"binary", "classes"}:
        return "classes"  # One unit stands for two classes.
    if len(tasks) > 1:
        meanings = {name: MEANINGS[task] for name, task in found.items() if task}
        raise ValueError(
            f"Expected models of one task. Received: {meanings}. Compare models of one problem; if "
            "it is one, declare `outputs` by the names of the models."
        )
    if tasks:
        return tasks.pop()
    task = task_from_labels(labels, next(iter(values.values())).shape)
    if task == "values" and any(output.declared for output in outputs.values()):
        task = "labels"  # Whose labels are rejected.
    if task is None:
        raise ValueError(
            f"Neither the models nor labels of shape {labels.shape} and dtype {labels.dtype} show "
            f"whether the outputs are classes, yes-or-no labels or numbers. {DECLARE}"
        )
    return task


def _unpack(batch: Any) -> tuple[Any, Any]:
    x, y = unpack_x_y(batch)
    if y is None:
        raise ValueError(
            "Expected batches of (x, y). Received: batches without labels. Map the data set to "
            "pairs."
        )
    return x, y


def _single(y: Any) -> np.ndarray:
    parts = tree.flatten(y)
    if len(parts) != 1:
        raise ValueError(
            f"Expected labels of one output. Received: labels in {len(parts)} arrays. Pass the "
            "labels of the output to compare."
        )
    return parts[0]


def _number_of_classes(outputs: Mapping[str, Any]) -> int:
    """Return the number of classes.

    Raises:
        ValueError: If the models differ in it, or in the shape of their predictions.
    """
    sizes = {name: logs.shape[-1] for name, (_, logs) in outputs.items() if logs is not None}
    shapes = {name: predictions.shape for name, (predictions, _) in outputs.items()}
    if len(set(sizes.values())) != 1 or len(set(shapes.values())) != 1:
        raise ValueError(
            f"Expected models of the same classes. Received: {sizes} classes, predictions of "
            f"shapes {shapes}. Compare models of one problem; at least one needs scores as output."
        )
    return next(iter(sizes.values()))


def _check_indices(name: str, predicted: np.ndarray, classes: int) -> None:
    """Reject predictions of a file of class indices that the other models do not have."""
    if predicted.size and predicted.max() >= classes:
        raise ValueError(
            f"Expected models of the same {classes} classes. Received: '{name}', which predicts "
            f"class {predicted.max()}. Compare models of one problem."
        )


def _flatten(
    predictions: np.ndarray, logs: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    return predictions.reshape(-1), None if logs is None else logs.reshape(-1, logs.shape[-1])
