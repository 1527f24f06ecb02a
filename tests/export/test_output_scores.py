"""One output over batches: its task, its differences by column, and labels of something else."""

import numpy as np
import pytest

from keras_kd.export.output_scores import OutputScores
from keras_kd.models.output_evidence import OutputTask

ROWS = np.array([[3, 1, 2], [0, 5, 1], [1, 2, 9], [4, 1, 0]], "float32")  # Classes 0, 1, 2, 0.
LABELS = np.array([0, 1, 2, 1])
UNKNOWN = OutputTask("y", None, None)
RNG = np.random.default_rng(0)


def score(values, labels=None, expected=None, output=UNKNOWN, **options):
    scores = OutputScores(output, **options)
    for rows in (slice(0, 2), slice(2, None)):
        parts = (None if part is None else part[rows] for part in (values, labels, expected))
        scores.add(*parts)
    return scores.score()


@pytest.mark.parametrize(
    ("values", "labels", "task"),
    [
        (ROWS, LABELS, "classes"),
        (ROWS, np.eye(3)[LABELS], "classes"),
        (ROWS, np.array([[1, 1, 0], [0, 1, 0], [1, 1, 1], [0, 0, 0]]), "labels"),
        (ROWS, ROWS.round(), "values"),
        (ROWS[:, :1], np.array([0, 1, 1, 0]), "binary"),
        (ROWS[:, 0], np.array([0, 1, 1, 0]), "binary"),
        (ROWS[:, :1], np.array([2.5, 1, 0, 0]), "values"),
    ],
)
def test_the_labels_tell_the_task_if_nothing_else_does(values, labels, task):
    output = OutputTask("y", None, False)
    assert score(values, labels, output=output).task == task


def test_without_labels_nothing_is_taken_for_classes():
    found = score(ROWS, expected=ROWS + 1)
    assert (found.task, found.accuracy, found.agreement) == (None, None, None)
    assert (found.max_difference, found.mean_difference) == (1, 1)
    declared = OutputTask("y", None, False, declared=True)
    assert score(ROWS, expected=ROWS + 1, output=declared).agreement == 1


def test_batches_of_missing_labels_wait_for_the_task():
    labels = np.array([np.nan, np.nan, 2, 1])
    found = score(ROWS, labels, ROWS)
    assert (found.task, found.accuracy, found.agreement) == ("classes", 0.5, 1)


def test_numbers_have_no_accuracy_and_no_agreement():
    found = score(ROWS, ROWS + 2, ROWS, OutputTask("y", "values", None))
    assert (found.accuracy, found.agreement, found.drop) == (None, None, None)
    assert (found.mae, found.rmse, found.relative_difference) == (2, 2, 0)


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("classes", np.array([[1, 1, 0]] * 4)),
        ("labels", LABELS),
        ("values", LABELS),
        (None, np.linspace(0, 1, 4)),
        (None, np.array(["a"] * 4)),
    ],
)
def test_labels_of_another_task_are_refused_or_reported(task, labels):
    output = OutputTask("y", task, False)
    with pytest.raises(ValueError, match="Output 'y'"):
        score(ROWS, labels, ROWS, output)
    scores = OutputScores(output, lenient=True)
    scores.add(ROWS, labels, ROWS)
    found = scores.score()
    assert "Output 'y'" in scores.unused
    assert (found.task, found.accuracy, found.model_accuracy, found.mae) == (task, *[None] * 3)
    assert found.agreement == (1 if task in ("classes", "labels") else None)


def test_a_later_batch_of_another_task_is_refused():
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="mutually exclusive classes.*declare `outputs=`"):
        score(ROWS, labels)


def test_class_numbers_out_of_range_are_refused_always():
    with pytest.raises(ValueError, match="Pass ignore_class=255"):
        score(ROWS, np.array([0, 1, 2, 255]), ROWS, lenient=True)
    found = score(ROWS, np.array([0, 1, 2, 255]), ROWS, ignore_class=255, lenient=True)
    assert (found.accuracy, found.drop) == (1, 0)


def test_labels_that_the_model_does_not_know_do_not_count():
    def reason(output):
        scores = OutputScores(output, lenient=True)
        scores.add(ROWS, np.zeros(4, int), ROWS)
        return scores.score().accuracy, scores.unused

    accuracy, unused = reason(UNKNOWN)
    assert accuracy is None
    assert "50.0% of the labels, no better than the most frequent label" in unused
    assert reason(OutputTask("y", "classes", False)) == (0.5, None)


def test_class_numbers_are_compared_as_classes():
    found = score(np.array([0, 1, 2, 1]), LABELS, ROWS, indices=True)
    assert (found.task, found.accuracy, found.agreement) == ("classes", 1, 0.75)
    assert found.relative_difference is None


def test_the_worst_column_decides():
    expected = RNG.normal(size=(50, 2)) * [100, 0.2] + [0, 40]
    values = expected + RNG.normal(size=(50, 2)) * [1, 0.1]
    error = np.sqrt(((values - expected) ** 2).mean(0)) / expected.std(0)
    found = score(values, expected=expected)
    assert found.worst_column == 1
    assert found.relative_difference == pytest.approx(error[1], rel=1e-6)


def test_classes_and_features_have_a_common_scale():
    expected = RNG.normal(size=(50, 3)) * [1, 1, 0.01]
    values = expected + 0.1
    for output, features in ((OutputTask("y", "classes", False), False), (UNKNOWN, True)):
        found = score(values, expected=expected, output=output, features=features)
        assert found.relative_difference == pytest.approx(0.1 / expected.std(), rel=1e-6)
    assert score(values, expected=expected).relative_difference > 5


def test_constant_and_tiny_columns_do_not_explode():
    expected = np.stack([RNG.normal(size=50) * 100, np.full(50, 5.0), np.zeros(50)], 1)
    size = np.sqrt((expected**2).mean())
    found = score(expected + np.array([0, 1e-3, 1e-3]), expected=expected)
    assert found.relative_difference == pytest.approx(1e-3 / (1e-4 * size), rel=1e-6)
    assert found.worst_column == 2
    found = score(expected + np.array([0, 0.5, 0]), expected=expected)
    assert found.relative_difference == pytest.approx(0.1)
    rare = RNG.random((50, 2)) * [1, 1e-6]
    probable = OutputTask("y", "labels", True)
    found = score(rare + 1e-3, expected=rare, output=probable)
    assert found.relative_difference == pytest.approx(0.1, rel=1e-3)


def test_in_a_file_of_floats_rounding_does_not_count():
    expected = RNG.normal(size=(50, 2)) * [100, 1e-3] + [0, 12]
    values = expected + np.array([0, 1e-4])
    found = score(values, expected=expected, floats=True)
    size = np.sqrt((expected**2).mean())
    assert found.relative_difference == pytest.approx(1e-4 / (1e-2 * size), rel=1e-6)
    assert score(values, expected=expected).relative_difference > 5e-3
    broken = expected * np.array([1, 0])
    assert score(broken, expected=expected, floats=True).relative_difference > 10


def test_differences_from_zeros_have_an_absolute_floor():
    zeros = np.zeros((4, 3))
    assert score(zeros + 1e-9, expected=zeros).relative_difference == pytest.approx(1e-3)
    assert score(zeros, expected=zeros).relative_difference == 0
    classes = OutputTask("y", "classes", False)
    assert score(zeros + 1, expected=zeros, output=classes).relative_difference == 1e6


def test_differences_of_nan_are_nan():
    found = score(ROWS * np.nan, expected=ROWS)
    assert np.isnan(found.max_difference)
    assert np.isnan(found.relative_difference)
