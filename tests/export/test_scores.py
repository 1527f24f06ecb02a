"""Scores, compared with values computed by hand."""

import numpy as np
import pytest

from keras_kd.export.scores import Evaluation, Score, ScoreCounter, check_class_labels

ROWS = np.array([[3, 1, 2], [0, 5, 1], [1, 2, 9], [4, 1, 0]], "float32")  # Classes 0, 1, 2, 0.
LABELS = np.array([0, 1, 2, 1])


def score(values, labels=None, expected=None, threshold=0.5, **options):
    counter = ScoreCounter("y", threshold, **options)
    counter.add(values, labels, expected)
    return counter.score()


@pytest.mark.parametrize(
    "labels", [LABELS, LABELS[:, None], np.eye(3, dtype="float32")[LABELS], [0, -1, -1, 1]]
)
def test_labels_are_integers_or_one_hot_and_may_be_missing(labels):
    found = score(ROWS, np.asarray(labels))
    assert found.accuracy == (0.5 if isinstance(labels, list) else 0.75)
    assert (found.agreement, found.max_difference, found.drop) == (None, None, None)


def test_without_a_label_there_is_no_accuracy():
    assert score(ROWS, np.full(4, -1)).accuracy is None
    assert score(ROWS, np.zeros((4, 3))).accuracy is None


def test_one_unit_has_a_threshold():
    values, labels = np.array([[-1], [0.2], [0.4], [0.9]], "float32"), np.array([0, 1, 1, 1])
    assert score(values, labels).accuracy == 0.5
    assert score(values, labels[:, None]).accuracy == 0.5
    assert score(values, labels, threshold=0.0).accuracy == 1


@pytest.mark.parametrize("last_axis", [False, True])
def test_dense_predictions_count_every_position(last_axis):
    labels = np.array([[[0, 1], [2, 0]]])
    values = np.eye(3, dtype="float32")[np.array([[[0, 1], [2, 2]]])]
    assert score(values, labels[..., None] if last_axis else labels).accuracy == 0.75


def test_differences_are_accumulated_over_batches():
    counter = ScoreCounter("y", 0.5)
    expected = ROWS + np.array([1, 0, 0], "float32")
    counter.add(ROWS[:3], LABELS[:3], expected[:3])
    counter.add(ROWS[3:], LABELS[3:], expected[3:])
    found = counter.score()
    assert (found.accuracy, found.model_accuracy, found.drop) == (0.75, 0.75, 0)
    assert (found.agreement, found.max_difference) == (1, 1)
    assert found.mean_difference == pytest.approx(1 / 3)
    assert found.relative_difference == pytest.approx(np.sqrt(1 / 3) / expected.std(), rel=1e-6)


def test_a_constant_output_and_nan_differ_infinitely():
    assert score(ROWS, expected=np.ones((4, 3), "float32")).relative_difference == np.inf
    assert np.isnan(score(ROWS * np.nan, expected=ROWS).max_difference)


def test_class_indices_are_compared_as_classes():
    found = score(np.array([0, 1, 2, 1]), LABELS, ROWS, class_indices=True)
    assert (found.accuracy, found.model_accuracy, found.agreement) == (1, 0.75, 0.75)
    assert found.relative_difference is None
    assert score(np.array([0, 1, 2, 1]), np.eye(7)[LABELS], class_indices=True).accuracy == 1


@pytest.mark.parametrize(
    "labels",
    [np.zeros(4, int), np.linspace(0, 1, 4), np.full(4, 11), np.zeros((4, 5))],
    ids=["the most frequent class is as good", "targets", "more classes", "another shape"],
)
def test_invalid_labels_can_be_ignored(labels):
    found = score(ROWS, labels, ROWS, ignore_invalid_labels=True)
    assert (found.accuracy, found.model_accuracy, found.agreement) == (None, None, 1)
    assert score(ROWS, LABELS, ROWS, ignore_invalid_labels=True).accuracy == 0.75


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3], "integer labels from 0 to 2.*from 0 to 3"),
        ([0, 1, 2, -2], "integer labels from 0 to 2.*from -2 to 2"),
        ([0, 1, 0.5, 1], "integer labels from 0 to 2"),
        ([0, 1, 2], r"labels of shape \(4,\) or \(4, 3\).*\(3,\)"),
    ],
)
def test_invalid_labels_are_rejected(labels, message):
    with pytest.raises(ValueError, match=message):
        check_class_labels("y", np.array(labels), ROWS.shape)


def test_an_evaluation_has_the_scores_of_its_only_output():
    found = Score(0.5, 0.75, 1.0, 0.25, 0.125, 0.625)
    evaluation = Evaluation(8, {"y": found})
    for name in ("accuracy", "agreement", "max_difference", "mean_difference"):
        assert getattr(evaluation, name) == getattr(found, name)
    assert (evaluation.relative_difference, evaluation.model_accuracy) == (0.125, 0.625)
    assert evaluation.drop == 12.5
    assert evaluation.as_dict()["outputs"]["y"]["drop"] == 12.5
    with pytest.raises(ValueError, match=r"Expected one output.*'z', 'y'.*outputs\[name\]"):
        _ = Evaluation(8, {"z": found, "y": found}).accuracy
