"""The first line of a report: what the student gains or loses."""

from collections.abc import Sequence

from keras_kd.report import formatting
from keras_kd.report.entries import Comparison, Entry


def describe_outcome(comparison: Comparison) -> str:
    """Return the outcome in a sentence.

    Such as "int8, compared with teacher on 1,000 samples: 0.33 points less accurate, 12× smaller
    and 3.4× faster".
    """
    teacher, student = comparison[comparison.teacher], comparison[comparison.student]
    parts = [
        _describe_error(teacher, student)
        if comparison.task == "values"
        else _describe_accuracy(teacher, student),
        *(describe_cost(*cost) for cost in costs(teacher, student)),
    ]
    return (
        f"{student.name}, compared with {teacher.name} on {comparison.samples:,} samples: "
        f"{_join(parts)}."
    )


def costs(teacher: Entry, student: Entry) -> list[tuple[float, float, str]]:
    """Return the known costs of both models, and the word for a lower one."""
    pairs = (
        (teacher.size, student.size, "smaller"),
        (teacher.latency_us, student.latency_us, "faster"),
    )
    return [(theirs, ours, word) for theirs, ours, word in pairs if theirs and ours]


def _describe_accuracy(teacher: Entry, student: Entry) -> str:
    difference = student.accuracy - teacher.accuracy
    if abs(difference) < 5e-5:
        return f"the same accuracy ({formatting.percent(student.accuracy)})"
    return (
        f"{abs(100 * difference):.2f} points {'more' if difference > 0 else 'less'} accurate "
        f"({formatting.percent(student.accuracy)} vs. {formatting.percent(teacher.accuracy)})"
    )


def _describe_error(teacher: Entry, student: Entry) -> str:
    change = student.rmse / teacher.rmse - 1 if teacher.rmse else None
    values = f"{formatting.significant(student.rmse)} vs. {formatting.significant(teacher.rmse)}"
    if change is None or abs(change) < 5e-4:
        return f"{'the same ' if change is not None else ''}root mean squared error ({values})"
    direction = "higher" if change > 0 else "lower"
    return f"root mean squared error {abs(100 * change):.1f} % {direction} ({values})"


def describe_cost(teacher: float, student: float, word: str) -> str:
    """Return the ratio of two costs in words, such as "12× smaller" or "1.5× slower"."""
    opposite = {"smaller": "larger", "faster": "slower"}[word]
    if student <= teacher:
        return f"{formatting.ratio(teacher / student)} {word}"
    return f"{formatting.ratio(student / teacher)} {opposite}"


def _join(parts: Sequence[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
