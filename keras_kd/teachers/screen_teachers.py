"""Ranking of teachers on a validation set before training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.files import text_table
from keras_kd.litert.signature import unpack_x_y
from keras_kd.models.taps import Tap
from keras_kd.teachers.teacher import Teacher, as_teachers
from keras_kd.teachers.weighting import cross_entropy
from keras_kd.training.batches import as_batches
from keras_kd.training.labels import class_indices

_LOGITS = Tap(None, logits=True)


@dataclass(frozen=True)
class RankedTeacher:
    """Results of one teacher on the validation set.

    Attributes:
        teacher: The teacher.
        cross_entropy: Mean cross-entropy on the labels, in nats.
        accuracy: Fraction of correct predictions.
        kept: Whether it was kept.
    """

    teacher: Teacher
    cross_entropy: float
    accuracy: float
    kept: bool


@dataclass(frozen=True)
class ScreeningReport:
    """Result of `screen_teachers`; `str` formats it as a table.

    Attributes:
        ranking: The teachers, lowest cross-entropy first.
        samples: Number of labeled samples.
    """

    ranking: tuple[RankedTeacher, ...]
    samples: int

    @property
    def teachers(self) -> list[Teacher]:
        """The kept teachers, best first."""
        return [row.teacher for row in self.ranking if row.kept]

    def __str__(self) -> str:
        header = ("teacher", "cross-entropy", "accuracy", "decision")
        rows = [
            (
                row.teacher.name,
                f"{row.cross_entropy:.4f}",
                f"{row.accuracy:.2%}",
                "kept" if row.kept else "dropped",
            )
            for row in self.ranking
        ]
        table = text_table(header, rows, right=(1, 2))
        return f"Teachers on {self.samples} validation samples:\n{table}"


def screen_teachers(
    teachers: keras.Model | Teacher | Sequence[keras.Model | Teacher],
    dataset: Any,
    keep: int | None = None,
    threshold: float | None = None,
    print_fn: Callable[[str], None] | None = print,
) -> ScreeningReport:
    """Rank teachers by their cross-entropy on a validation set and keep the best ones.

    Args:
        teachers: Models or teachers with the same classes.
        dataset: A `tf.data.Dataset` or another iterable of batches of (x, y), or arrays (x, y). Do
            not use the training data, on which an overfitted teacher ranks first.
        keep: Number of teachers to keep.
        threshold: Alternative to `keep`: keep teachers whose mean cross-entropy exceeds the best
            one's by at most this many nats.
        print_fn: Function that prints the report, or `None`. Defaults to `print`.

    Returns:
        A `ScreeningReport`; pass its `teachers` to `Distiller`.

    Raises:
        ValueError: If not exactly one of `keep` and `threshold` is given, or no sample has a label.

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
    batches = as_batches(dataset, "screen_teachers", inputs=teachers[0].input_count)
    losses, accuracies, samples = _evaluate(teachers, batches)
    if not samples:
        raise ValueError("screen_teachers: no sample of the data set has a label")
    limit = np.sort(losses)[keep - 1] if threshold is None else losses.min() + threshold
    order = np.argsort(losses, kind="stable")
    kept = [i for i in order if losses[i] <= limit][:keep]
    ranking = tuple(
        RankedTeacher(teachers[i], float(losses[i]), float(accuracies[i]), i in kept) for i in order
    )
    report = ScreeningReport(ranking, samples)
    if print_fn is not None:
        print_fn(str(report))
    return report


def _evaluate(teachers: Sequence[Teacher], dataset: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the mean cross-entropy and accuracy of each teacher, and the labeled samples."""
    watched = [teacher.watch([_LOGITS]) for teacher in teachers]
    losses, correct, samples = np.zeros(len(teachers)), np.zeros(len(teachers)), 0
    for batch in dataset:
        x, y = unpack_x_y(batch)
        if y is None:
            raise ValueError(
                "screen_teachers: the data set must have labels, as batches of (x, y). Received: "
                "batches without labels"
            )
        logits = ops.stack([ops.cast(member(x)[_LOGITS], "float32") for member in watched])
        values, labeled = cross_entropy(logits, y)
        target = class_indices(y, logits.shape[1:])
        hits = ops.cast(ops.argmax(logits, axis=-1), target.dtype) == target
        axes = tuple(range(2, len(hits.shape)))
        hits = ops.mean(ops.cast(hits, "float32"), axis=axes) if axes else hits
        known = np.asarray(labeled)
        losses += np.sum(np.asarray(values)[:, known], axis=1)
        correct += np.sum(np.asarray(hits)[:, known], axis=1)
        samples += int(known.sum())
    return losses / max(samples, 1), correct / max(samples, 1), samples
