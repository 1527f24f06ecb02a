"""The metrics of a report, compared with numbers computed by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from keras_kd.report.metrics import (
    ClassMetrics,
    LabelMetrics,
    ValueMetrics,
    pareto_front,
    wilson_interval,
)

MODEL = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]])
TEACHER = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.1, 0.5, 0.4], [0.5, 0.3, 0.2]])


def measure(probabilities, labels, teacher):
    logs, others = np.log(probabilities), np.log(teacher)
    metrics = ClassMetrics(3)
    for rows in (slice(0, 2), slice(2, None)):  # In two batches, as from a data set.
        metrics.update(
            logs[rows].argmax(-1),
            np.asarray(labels)[rows],
            logs[rows],
            others[rows].argmax(-1),
            others[rows],
        )
    return metrics


def test_accuracy_is_counted_by_class_on_labeled_samples():
    metrics = measure(MODEL, [0, 1, 1, -1], TEACHER)
    assert metrics.labeled == 3
    assert metrics.accuracy == pytest.approx(2 / 3)
    assert metrics.per_class == (1.0, 0.5, None)


def test_agreement_and_divergence_compare_with_the_teacher():
    metrics = measure(MODEL, [0, 1, 1, -1], TEACHER)
    assert metrics.agreement == 0.75
    expected = (TEACHER * np.log(TEACHER / MODEL)).sum() / 4
    assert metrics.divergence == pytest.approx(expected)


def test_the_calibration_error_is_the_difference_of_confidence_and_accuracy():
    # Two correct predictions of 0.7 and 0.8 in separate bins, one of 0.6 that is an error.
    metrics = measure(MODEL, [0, 1, 1, -1], TEACHER)
    assert metrics.calibration_error == pytest.approx((0.3 + 0.2 + 0.6) / 3)
    assert np.allclose(metrics.calibration, [(1, 0.6, 0), (1, 0.7, 1), (1, 0.8, 1)])


def test_differences_within_a_bin_cancel():
    confident = np.tile([0.75, 0.15, 0.1], (4, 1))
    assert measure(confident, [0, 0, 0, 1], confident).calibration_error == pytest.approx(0)


def test_classes_without_probabilities_give_accuracy_and_agreement_only():
    metrics = ClassMetrics(2)
    logs = np.log([[0.5, 0.5]] * 2)
    metrics.update(np.array([0, 1]), np.array([0, 0]), None, np.array([0, 0]), logs)
    assert (metrics.accuracy, metrics.agreement) == (0.5, 0.5)
    assert metrics.calibration_error is None
    assert metrics.divergence is None


def test_a_yes_or_no_question_has_an_auc():
    rng = np.random.default_rng(0)
    labels, odds = rng.integers(-1, 2, 60), rng.normal(size=60)
    logs = -np.logaddexp(0, np.stack([odds, -odds], 1))
    metrics = ClassMetrics(2, binary=True)
    for rows in (slice(0, 20), slice(20, None)):
        metrics.update(
            logs[rows].argmax(1), labels[rows], logs[rows], logs[rows].argmax(1), logs[rows]
        )
    expected = roc_auc_score(labels[labels >= 0], odds[labels >= 0])
    assert metrics.fields()["auc"] == pytest.approx(expected)
    assert measure(MODEL, [0, 1, 1, -1], TEACHER).fields()["auc"] is None


def test_independent_labels_are_counted_one_by_one():
    odds = np.array([[2.0, -1], [-3, 1], [1, 1]])
    labels = np.array([[1, 1], [0, np.nan], [np.nan, 1]])
    metrics = LabelMetrics(2)
    metrics.update(odds, labels, -odds)
    found = metrics.fields()
    assert (metrics.labeled, found["accuracy"], found["exact_match"]) == (4, 0.75, 2 / 3)
    assert found["per_class"] == (1, 0.5)
    assert found["agreement"] == 0
    assert found["interval"] == wilson_interval(0.75, 4)


def test_numbers_have_errors_and_a_difference_from_the_teacher():
    rng = np.random.default_rng(0)
    labels, values = rng.normal(size=(30, 2)), rng.normal(size=(30, 2))
    metrics = ValueMetrics()
    metrics.update(values, labels, labels)
    found = metrics.fields()
    assert found["mae"] == pytest.approx(np.abs(values - labels).mean())
    assert found["rmse"] == pytest.approx(np.sqrt(((values - labels) ** 2).mean()))
    assert found["r2"] == pytest.approx(r2_score(labels, values))
    relative = np.sqrt(((values - labels) ** 2).mean(0)) / labels.std(0)
    assert found["relative_difference"] == pytest.approx(relative.max())


@pytest.mark.parametrize(
    ("share", "count", "expected"),
    [(0.5, 10, (0.2366, 0.7634)), (1.0, 10, (0.7225, 1.0)), (0.9, 1000, (0.8799, 0.9171))],
)
def test_intervals_are_wilson_intervals(share, count, expected):
    assert wilson_interval(share, count) == pytest.approx(expected, abs=1e-4)


def test_no_model_dominates_the_pareto_front():
    costs, gains = [3, 1, 2, None, 2, 5], [9, 5, 4, 10, 7, 9]
    assert pareto_front(costs, gains) == [1, 4, 0]
    assert pareto_front([math.pi], [0.0]) == [0]
    assert pareto_front([1, 1], [2, 2]) == [0]
