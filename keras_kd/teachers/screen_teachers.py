"""Ranking of teachers on a validation set before training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.files import ShortRepr, text_table
from keras_kd.models.taps import Tap
from keras_kd.models.task import DECLARE, task_from_labels
from keras_kd.teachers.teacher import Teacher, as_teachers
from keras_kd.teachers.teacher_tasks import WatchedOutput, common_output
from keras_kd.training.batches import as_batches, unpack_x_y
from keras_kd.training.label_arrays import read_labels

_NAME = "screen_teachers"
_RAW = Tap(None)


@dataclass(frozen=True, repr=False)
class RankedTeacher(ShortRepr):
    """Results of one teacher on the validation set.

    Attributes:
        teacher: The teacher.
        cross_entropy: Mean cross-entropy on the labels, in nats, of the softmax for classes and of
            the sigmoids for a yes-or-no question or independent labels; `None` for numbers.
        accuracy: Fraction of correct predictions, of independent labels over all of them; `None`
            for numbers.
        kept: Whether it was kept.
        mean_squared_error: Mean squared error of numbers (regression), otherwise `None`.
    """

    teacher: Teacher
    cross_entropy: float | None
    accuracy: float | None
    kept: bool
    mean_squared_error: float | None = None


@dataclass(frozen=True)
class ScreeningReport(HtmlTables):
    """Result of `screen_teachers`; `str` formats it as a table.

    Attributes:
        ranking: The teachers, best first: lowest cross-entropy, or mean squared error.
        samples: Number of labeled samples.
        task: `"classes"`, `"binary"` (yes or no), `"labels"` (independent ones) or `"values"`
            (numbers).
    """

    ranking: tuple[RankedTeacher, ...]
    samples: int
    task: str = "classes"

    @property
    def teachers(self) -> list[Teacher]:
        """The kept teachers, best first."""
        return [row.teacher for row in self.ranking if row.kept]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"{self._caption()}:\n{text_table(*self._table())}"

    def html_tables(self) -> Mapping[str, Table]:
        """Return the ranking."""
        return {self._caption(): self._table()}

    def _caption(self) -> str:
        return f"Teachers on {self.samples} validation samples"

    def _table(self) -> Table:
        numbers = self.task == "values"
        scores = ("mean squared error",) if numbers else ("cross-entropy", "accuracy")
        rows = [
            (
                row.teacher.name,
                *(
                    (f"{row.mean_squared_error:.4g}",)
                    if numbers
                    else (f"{row.cross_entropy:.4f}", f"{row.accuracy:.2%}")
                ),
                "kept" if row.kept else "dropped",
            )
            for row in self.ranking
        ]
        header = ("teacher", *scores, "decision")
        return Table(header, rows, right=range(1, 1 + len(scores)))


def screen_teachers(
    teachers: keras.Model | Teacher | Sequence[keras.Model | Teacher],
    dataset: Any,
    keep: int | None = None,
    threshold: float | None = None,
    print_fn: Callable[[str], None] | None = print,
) -> ScreeningReport:
    """Rank teachers by their loss on a validation set and keep the best ones.

    The loss is that of their task: cross-entropy of classes, of a yes-or-no question or of
    independent labels, squared error of numbers (regression). The task follows from `outputs=` of
    `kd.Teacher`, the loss that a teacher is compiled with, its final softmax or sigmoid, and then
    the labels.

    Args:
        teachers: Models or teachers with one output of the same task and size.
        dataset: A `tf.data.Dataset` or another iterable of batches of (x, y), or arrays (x, y).
            Missing labels, as for training, are not counted. Do not use the training data, on which
            an overfitted teacher ranks first.
        keep: Number of teachers to keep.
        threshold: Alternative to `keep`: keep teachers whose mean loss exceeds the best one's by at
            most this much (nats for a cross-entropy).
        print_fn: Function that prints the report, or `None`. Defaults to `print`.

    Returns:
        A `ScreeningReport`; pass its `teachers` to `Distiller`.

    Raises:
        ValueError: If not exactly one of `keep` and `threshold` is given, no sample has a label, or
            the teachers and the labels have different tasks.

    Example:
        >>> report = kd.screen_teachers(teachers, validation, keep=3)
        >>> kd.Distiller(student, report.teachers)
    """
    teachers = as_teachers(teachers)
    if (keep is None) == (threshold is None):
        raise ValueError(
            "screen_teachers: pass either `keep` or `threshold`. "
            f"Received: keep={keep}, threshold={threshold}"
        )
    if keep is not None and not 1 <= keep <= len(teachers):
        raise ValueError(
            f"screen_teachers: there are {len(teachers)} teachers, so `keep` must be from 1 to "
            f"{len(teachers)}. Received: keep={keep}"
        )
    batches = as_batches(dataset, _NAME, inputs=teachers[0].input_count)
    task, losses, accuracies, samples = _evaluate(teachers, batches)
    if not samples:
        raise ValueError("screen_teachers: no sample of the data set has a label")
    limit = np.sort(losses)[keep - 1] if threshold is None else losses.min() + threshold
    order = np.argsort(losses, kind="stable")
    kept = [i for i in order if losses[i] <= limit][:keep]
    ranking = tuple(
        _rank(teachers[i], task, float(losses[i]), float(accuracies[i]), i in kept) for i in order
    )
    report = ScreeningReport(ranking, samples, task)
    if print_fn is not None:
        print_fn(str(report))
    return report


def _rank(teacher: Teacher, task: str, loss: float, accuracy: float, kept: bool) -> RankedTeacher:
    if task == "values":
        return RankedTeacher(teacher, None, None, kept, loss)
    return RankedTeacher(teacher, loss, accuracy, kept)


def _evaluate(teachers: Sequence[Teacher], dataset: Any) -> tuple[str, np.ndarray, np.ndarray, int]:
    """Return the task, mean loss and accuracy of each teacher, and the labeled samples."""
    output = common_output(teachers, _NAME)
    task, watched = output.task, []
    losses, correct, samples = np.zeros(len(teachers)), np.zeros(len(teachers)), 0
    for batch in dataset:
        x, y = unpack_x_y(batch)
        labels = _single(y)
        task = task or _task_of(labels, teachers[0], output.declared)
        if task is None:
            continue
        watched = watched or [WatchedOutput(teacher, task) for teacher in teachers]
        values = np.stack([ops.convert_to_numpy(member(x)) for member in watched])
        targets, known = read_labels("output", task, labels, values.shape[1:])
        loss, hits = _score(task, values.astype("float64"), targets)
        losses += _mean_of_known(loss, known)
        correct += _mean_of_known(hits, known)
        samples += int(known.reshape(len(known), -1).any(1).sum())
    return task or "classes", losses / max(samples, 1), correct / max(samples, 1), samples


def _mean_of_known(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the sum over samples of the mean over their known predictions, by teacher."""
    values = np.where(known, values, 0.0).reshape(len(values), len(known), -1).sum(-1)
    return (values / np.maximum(known.reshape(len(known), -1).sum(-1), 1)).sum(-1)


def _score(task: str, values: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss and whether it is correct of each prediction, by teacher.

    Args:
        task: One of `kd.models.task.TASKS`.
        values: Logits or numbers, (teachers, batch, ..., units).
        targets: As `read_labels` returns them.
    """
    if task == "values":
        return (values - targets) ** 2, np.zeros_like(values)
    if task == "classes":
        shifted = values - values.max(-1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        index = np.broadcast_to(np.maximum(targets, 0), values.shape[:-1])[..., None]
        return -np.take_along_axis(log_p, index, -1)[..., 0], values.argmax(-1) == targets
    values = values[..., 0] if task == "binary" else values
    return np.logaddexp(0, values) - values * targets, (values > 0) == (targets > 0)


def _single(labels: Any) -> np.ndarray:
    parts = [] if labels is None else tree.flatten(labels)
    if len(parts) != 1:
        raise ValueError(
            f"{_NAME}: expected labels of one output. Received: labels in {len(parts)} arrays"
        )
    return ops.convert_to_numpy(parts[0])


def _task_of(labels: np.ndarray, teacher: Teacher, declared: bool) -> str | None:
    """Return the task that the labels of a batch tell, `None` if they are all missing.

    Raises:
        ValueError: If they tell none.
    """
    task = task_from_labels(labels, teacher.watch([_RAW]).shapes[_RAW])
    if task == "values" and declared:
        return "labels"  # Whose labels are rejected.
    if task is None and not (labels.dtype.kind == "f" and np.isnan(labels).all()):
        raise ValueError(
            f"{_NAME}: neither the teachers nor labels of shape {labels.shape} and dtype "
            f"{labels.dtype} show whether the outputs are classes, yes-or-no labels or numbers. "
            f"{DECLARE}"
        )
    return task
