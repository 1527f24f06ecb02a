"""Teachers ranked on a validation set before training: who is worth asking at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.models.taps import Tap
from keras_kd.teachers.teacher import Teacher, as_teachers
from keras_kd.teachers.weighting import cross_entropy
from keras_kd.training.labels import class_indices

_LOGITS = Tap(None, logits=True)


@dataclass(frozen=True)
class RankedTeacher:
    """One teacher on the validation set.

    Attributes:
        teacher: The teacher.
        cross_entropy: Mean cross-entropy with the labels, in nats.
        accuracy: Part of the labels that it finds most likely.
        kept: Whether it was kept.
    """

    teacher: Teacher
    cross_entropy: float
    accuracy: float
    kept: bool


@dataclass(frozen=True)
class ScreeningReport:
    """What `screen_teachers` found; `str` gives it as a table.

    Attributes:
        ranking: The teachers, the lowest cross-entropy first.
        samples: How many labelled samples they were ranked on.
    """

    ranking: tuple[RankedTeacher, ...]
    samples: int

    @property
    def teachers(self) -> list[Teacher]:
        """Those that were kept, the best first."""
        return [row.teacher for row in self.ranking if row.kept]

    def __str__(self) -> str:
        lines = [f"Teachers on {self.samples} validation samples:"]
        width = max(len(row.teacher.name) for row in self.ranking)
        for row in self.ranking:
            lines.append(
                f"  {row.teacher.name:{width}}  cross-entropy {row.cross_entropy:7.4f}  "
                f"accuracy {row.accuracy:7.2%}  {'kept' if row.kept else 'dropped'}"
            )
        return "\n".join(lines)


def screen_teachers(
    teachers: keras.Model | Teacher | Sequence[keras.Model | Teacher],
    dataset: Any,
    keep: int | None = None,
    threshold: float | None = None,
    print_fn: Callable[[str], None] | None = print,
) -> ScreeningReport:
    """Ranks teachers by their cross-entropy on a validation set, and keeps the better ones.

    Args:
        teachers: Models or teachers with the same classes.
        dataset: Batches of (x, y), such as a `tf.data.Dataset`; not the student's training data,
            on which an overfitted teacher looks best.
        keep: How many are kept.
        threshold: Instead of `keep`: those whose mean cross-entropy is at most so many nats above
            the best one's.
        print_fn: Called with the report. Defaults to `print`; `None` for silence.

    Returns:
        A `ScreeningReport`; its `teachers` go into `Distiller`.

    Raises:
        ValueError: When not exactly one of `keep` and `threshold` is given, or no sample has a
            label.

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
    losses, right, samples = _measured(teachers, dataset)
    if not samples:
        raise ValueError("screen_teachers: no sample of the data set has a label")
    limit = np.sort(losses)[keep - 1] if threshold is None else losses.min() + threshold
    order = np.argsort(losses, kind="stable")
    kept = [i for i in order if losses[i] <= limit][:keep]
    ranking = tuple(
        RankedTeacher(teachers[i], float(losses[i]), float(right[i]), i in kept) for i in order
    )
    report = ScreeningReport(ranking, samples)
    if print_fn is not None:
        print_fn(str(report))
    return report


def _measured(teachers: Sequence[Teacher], dataset: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean cross-entropy and accuracy of each teacher, and the number of labelled samples."""
    watched = [teacher.watch([_LOGITS]) for teacher in teachers]
    losses, right, samples = np.zeros(len(teachers)), np.zeros(len(teachers)), 0
    for batch in dataset:
        x, y = batch[0], batch[1]
        logits = ops.stack([ops.cast(member(x)[_LOGITS], "float32") for member in watched])
        values, labelled = cross_entropy(logits, y)
        target = class_indices(y, logits.shape[1:])
        hits = ops.cast(ops.argmax(logits, axis=-1), target.dtype) == target
        axes = tuple(range(2, len(hits.shape)))
        hits = ops.mean(ops.cast(hits, "float32"), axis=axes) if axes else hits
        known = np.asarray(labelled)
        losses += np.sum(np.asarray(values)[:, known], axis=1)
        right += np.sum(np.asarray(hits)[:, known], axis=1)
        samples += int(known.sum())
    return losses / max(samples, 1), right / max(samples, 1), samples
