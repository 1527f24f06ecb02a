"""Scores of each task, compared with values computed by hand or by Keras and scikit-learn."""

import keras
import numpy as np
import pytest
from sklearn import metrics

from keras_kd.export.score_counters import (
    ClassCounter,
    ValueCounter,
    YesNoCounter,
    are_distributions,
    area_under_curve,
)

RNG = np.random.default_rng(0)
ROWS = np.array([[3, 1, 2], [0, 5, 1], [1, 2, 9], [4, 1, 0]], "float32")  # Classes 0, 1, 2, 0.
LABELS = np.array([0, 1, 2, 1])


def count(counter, *batches):
    for batch in batches:
        counter.add(*batch)
    return counter.scores()


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z.astype("float64")))


def test_classes_have_accuracy_agreement_and_divergence():
    other = ROWS + np.array([0, 4.5, 0], "float32")  # Classes 1, 1, 2, 1.
    found = count(ClassCounter("y", False), (ROWS, LABELS, other))
    assert found["accuracy"] == 0.75
    assert found["model_accuracy"] == 0.75
    assert found["agreement"] == 0.5
    p, q = softmax(other.astype("float64")), softmax(ROWS.astype("float64"))
    assert found["divergence"] == pytest.approx((p * np.log(p / q)).sum(-1).mean())
    as_probabilities = count(ClassCounter("y", True), (q, LABELS, p))
    assert as_probabilities["divergence"] == pytest.approx(found["divergence"], rel=1e-5)
    proven = count(ClassCounter("y", None), (q, LABELS, p))
    assert proven["divergence"] == pytest.approx(found["divergence"], rel=1e-5)


def test_class_numbers_have_no_divergence():
    found = count(ClassCounter("y", indices=True), (np.array([0, 1, 2, 1]), LABELS, ROWS))
    assert found == {
        "accuracy": 1,
        "model_accuracy": 0.75,
        "agreement": 0.75,
        "divergence": None,
    }
    rows = np.eye(7)[LABELS]
    found = count(ClassCounter("y", indices=True), (np.array([0, 1, 2, 1]), rows, None))
    assert found["accuracy"] == 1


@pytest.mark.parametrize("last_axis", [False, True])
def test_dense_predictions_count_every_position(last_axis):
    labels = np.array([[[0, 1], [2, 0]]])
    values = np.eye(3, dtype="float32")[np.array([[[0, 1], [2, 2]]])]
    labels = labels[..., None] if last_axis else labels
    assert count(ClassCounter("y"), (values, labels, None))["accuracy"] == 0.75


@pytest.mark.parametrize("probabilities", [True, False])
def test_a_yes_or_no_question_has_accuracy_and_auc(probabilities):
    logits = RNG.normal(size=(50, 1)).astype("float32")
    labels = (logits[:, 0] + RNG.normal(size=50) > 0).astype("int32")
    labels[:3] = -1
    model = logits + RNG.normal(0, 0.3, logits.shape).astype("float32")
    values, expected = (sigmoid(logits), sigmoid(model)) if probabilities else (logits, model)
    counter = YesNoCounter("y", "binary", probabilities)
    batches = [
        (part, labels[i : i + 25], expected[i : i + 25])
        for i, part in ((0, values[:25]), (25, values[25:]))
    ]
    found = count(counter, *batches)
    known = labels >= 0
    assert found["accuracy"] == pytest.approx(((logits[:, 0] > 0) == labels)[known].mean())
    assert found["model_accuracy"] == pytest.approx(((model[:, 0] > 0) == labels)[known].mean())
    assert found["agreement"] == pytest.approx(((logits > 0) == (model > 0)).mean())
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels[known], logits[known, 0]))
    p, q = sigmoid(model), sigmoid(logits)
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert found["divergence"] == pytest.approx(divergence.mean(), rel=1e-4)
    assert found["exact_match"] is None


def test_a_threshold_replaces_that_of_the_kind():
    values, labels = np.array([[-1], [0.2], [0.4], [0.9]], "float32"), np.array([0, 1, 1, 1])
    for threshold, probabilities, accuracy in (
        (None, True, 0.5),
        (0.0, True, 1),
        (0.3, None, 0.75),
    ):
        counter = YesNoCounter("y", "binary", probabilities, threshold)
        assert count(counter, (values, labels, None))["accuracy"] == accuracy


def test_unknown_yes_or_no_values_are_logits_if_they_prove_it_and_otherwise_refused():
    labels = np.array([0, 1])
    proven = count(YesNoCounter("y", "binary"), (np.array([[-1.0], [0.2]]), labels, None))
    assert proven["accuracy"] == 1
    with pytest.raises(ValueError, match="Output 'y' may be logits or probabilities.*outputs="):
        count(YesNoCounter("y", "binary"), (np.array([[0.3], [0.2]]), labels, None))


def test_a_map_of_yes_or_no_has_no_auc():
    values = RNG.random((2, 4, 4, 1))
    found = count(YesNoCounter("y", "binary", True), (values, values > 0.5, None))
    assert (found["accuracy"], found["auc"]) == (1, None)


def test_independent_labels_count_one_by_one_and_all_at_once():
    values = np.array([[0.9, 0.2, 0.7], [0.4, 0.6, 0.1], [0.9, 0.9, 0.9]])
    labels = np.array([[1, 0, 0], [0, 1, np.nan], [np.nan] * 3])
    found = count(YesNoCounter("y", "labels", True), (values, labels, 1 - values))
    assert found["accuracy"] == 4 / 5
    assert found["model_accuracy"] == 1 / 5
    assert found["exact_match"] == 1 / 2
    assert (found["agreement"], found["auc"]) == (0, None)


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_numbers_have_errors_and_r2(shift):
    labels = RNG.normal(size=(40, 3)) * [1, 10, 100] + shift
    values = labels + RNG.normal(size=labels.shape)
    found = count(
        ValueCounter("y"), (values[:9], labels[:9], None), (values[9:], labels[9:], values)
    )
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(labels, values))
    assert found["rmse"] == pytest.approx(np.sqrt(metrics.mean_squared_error(labels, values)))
    assert found["r2"] == pytest.approx(metrics.r2_score(labels, values), rel=1e-6)
    keras_r2 = keras.metrics.R2Score()
    keras_r2.update_state(labels, values)
    if not shift:
        assert found["r2"] == pytest.approx(float(keras_r2.result()), rel=1e-4)


def test_missing_numbers_are_not_counted():
    labels = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, 5.0]])
    values = np.array([[2.0, 9.0], [7.0, 7.0], [3.0, 3.0]])
    found = count(ValueCounter("y"), (values, labels, None))
    assert found["mae"] == pytest.approx(1)
    assert found["rmse"] == pytest.approx(np.sqrt(5 / 3))
    assert found["r2"] == pytest.approx(1 - 1 / 2)  # Only the first column varies.
    assert count(ValueCounter("y"), (values, np.full_like(values, np.nan), None)) == {}


def test_the_area_under_the_curve_counts_ties_half():
    labels, values = RNG.integers(0, 2, 60), RNG.integers(0, 8, 60)
    expected = metrics.roc_auc_score(labels, values)
    assert area_under_curve(labels, values) == pytest.approx(expected)
    assert area_under_curve(np.ones(3), np.arange(3)) is None


def test_distributions_are_rows_that_sum_to_one():
    assert are_distributions(softmax(ROWS))
    assert not are_distributions(ROWS)
    assert not are_distributions(np.array([[0.5, 0.5], [1.5, -0.5]]))
