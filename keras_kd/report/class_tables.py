"""The tables of a page on classes: changes, and confusions."""

from dataclasses import dataclass

from keras_kd.report import formatting
from keras_kd.report.changes import MAX_MATRIX
from keras_kd.report.entries import Comparison


@dataclass(frozen=True)
class Cell:
    """A cell of a confusion matrix.

    Attributes:
        text: The number of predictions; empty for none.
        kind: `"hit"` on the diagonal, `"miss"` elsewhere.
        share: Share of the predictions of the row, in [0, 1]; the strength of the color.
        title: The same for the teacher, shown when the mouse is over the cell.
    """

    text: str
    kind: str
    share: float
    title: str


def confusion_matrix(comparison: Comparison) -> list[list[Cell]]:
    """Return the rows of the student's confusion matrix; none for many classes."""
    names = comparison.class_names
    if not comparison.confusions or len(names) > MAX_MATRIX:
        return []
    counts = {(c.label, c.predicted): c for c in comparison.confusions}
    totals = [change.samples for change in comparison.changes]
    rows = []
    for label in range(len(names)):
        row = []
        for predicted in range(len(names)):
            found = counts.get((label, predicted))
            student, teacher = (found.student, found.teacher) if found else (0, 0)
            title = f"{names[label]} as {names[predicted]}: {student:,}; teacher: {teacher:,}"
            kind = "hit" if label == predicted else "miss"
            share = student / totals[label] if totals[label] else 0.0
            row.append(Cell(f"{student:,}" if student else "", kind, share, title))
        rows.append(row)
    return rows


def frequent_confusions(comparison: Comparison) -> list[tuple[str, str, int, int]]:
    """Return label, prediction, and counts of student and teacher of the most frequent errors."""
    names = comparison.class_names
    errors = [c for c in comparison.confusions if c.label != c.predicted and c.student]
    worst = sorted(errors, key=lambda c: -c.student)[:10]
    return [(names[c.label], names[c.predicted], c.student, c.teacher) for c in worst]


def class_table(comparison: Comparison) -> list[list[str]]:
    """Return the rows of the table of classes, those that lose most first, after its header."""
    teacher, student = (
        comparison[name].per_class for name in (comparison.teacher, comparison.student)
    )
    rows = []
    for i, name in enumerate(comparison.class_names):
        known = teacher[i] is not None and student[i] is not None
        difference = student[i] - teacher[i] if known else 0.0
        row = [name, formatting.points(difference) if known else "–"]
        row += [formatting.percent(entry.per_class[i], 1) for entry in comparison.entries]
        if comparison.changes:
            change = comparison.changes[i]
            row += [f"{count:,}" for count in (change.samples, change.gained, change.lost)]
        rows.append((difference, row))
    kind = "label" if comparison.task == "labels" else "class"
    counted = ["samples", "gained", "lost"] if comparison.changes else []
    header = [kind, "change", *(entry.name for entry in comparison.entries), *counted]
    return [header, *(row for _, row in sorted(rows, key=lambda one: one[0]))]
