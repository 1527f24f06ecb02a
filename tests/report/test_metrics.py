"""The numbers of a report, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from keras_kd.report.metrics import Marks, interval, pareto


def marked(probabilities, labels, teacher):
    logs, others = np.log(probabilities), np.log(teacher)
    marks = Marks(3)
    for rows in (slice(0, 2), slice(2, None)):  # In two batches, as from a data set.
        marks.add(
            logs[rows].argmax(-1),
            np.asarray(labels)[rows],
            logs[rows],
            others[rows].argmax(-1),
            others[rows],
        )
    return marks


MODEL = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]])
TEACHER = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.1, 0.5, 0.4], [0.5, 0.3, 0.2]])


def test_accuracy_counts_labels_class_by_class():
    marks = marked(MODEL, [0, 1, 1, -1], TEACHER)
    assert marks.labelled == 3
    assert marks.accuracy == pytest.approx(2 / 3)
    assert marks.per_class == (1.0, 0.5, None)


def test_agreement_and_divergence_are_the_teachers():
    marks = marked(MODEL, [0, 1, 1, -1], TEACHER)
    assert marks.agreement == 0.75
    expected = (TEACHER * np.log(TEACHER / MODEL)).sum() / 4
    assert marks.divergence == pytest.approx(expected)


def test_the_calibration_error_is_the_distance_of_confidence_and_accuracy():
    # Two answers of 0.7 and 0.8 in bins of their own, both right; one of 0.6, wrong.
    marks = marked(MODEL, [0, 1, 1, -1], TEACHER)
    assert marks.calibration_error == pytest.approx((0.3 + 0.2 + 0.6) / 3)


def test_within_a_bin_errors_cancel():
    confident = np.tile([0.75, 0.15, 0.1], (4, 1))
    assert marked(confident, [0, 0, 0, 1], confident).calibration_error == pytest.approx(0)


def test_of_answers_alone_there_is_accuracy_and_agreement_only():
    marks = Marks(2)
    marks.add(np.array([0, 1]), np.array([0, 0]), None, np.array([0, 0]), np.log([[0.5, 0.5]] * 2))
    assert (marks.accuracy, marks.agreement) == (0.5, 0.5)
    assert marks.calibration_error is None
    assert marks.divergence is None


@pytest.mark.parametrize(
    ("share", "count", "expected"),
    [(0.5, 10, (0.2366, 0.7634)), (1.0, 10, (0.7225, 1.0)), (0.9, 1000, (0.8799, 0.9171))],
)
def test_intervals_are_wilsons(share, count, expected):
    assert interval(share, count) == pytest.approx(expected, abs=1e-4)


def test_the_front_is_what_nothing_beats():
    costs, gains = [3, 1, 2, None, 2, 5], [9, 5, 4, 10, 7, 9]
    assert pareto(costs, gains) == [1, 4, 0]
    assert pareto([math.pi], [0.0]) == [0]
    assert pareto([1, 1], [2, 2]) == [0]
