"""The task, the data and the score of a search."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.budget.problem import as_number, make_problem
from keras_kd.export.scores import Score
from tests.budget.conftest import SCORES, TEST, TRAIN, VALIDATION, X, Y


def network(units, last=None):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((12,)), layers.Dense(units, last, name="head")])


@pytest.mark.parametrize(
    ("units", "last", "labels", "task", "right"),
    [
        (3, None, Y, "classes", lambda v, y: (v.argmax(1) == y).mean()),
        (3, "softmax", np.eye(3)[Y], "classes", lambda v, y: (v.argmax(1) == y.argmax(1)).mean()),
        (1, None, (Y == 1) * 1.0, "binary", lambda v, y: ((v[:, 0] > 0) == y).mean()),
        (3, "sigmoid", (SCORES > 0) * 1, "labels", lambda v, y: ((v > 0.5) == y).mean()),
        (2, None, SCORES[:, :2], "values", lambda v, y: 1 - ((v - y) ** 2 / y.var(0)).mean()),
    ],
)
def test_the_score_is_that_of_the_task(units, last, labels, task, right):
    model = network(units, last)
    found = make_problem(model, (X, labels), (X, labels), (X, labels))
    assert found.task == task
    assert found.score_name == ("R²" if task == "values" else "accuracy")
    values = model.predict(X, verbose=0)
    expected = right(values, labels)
    if task == "values":
        centered = labels - labels.mean(0)
        expected = (1 - ((values - labels) ** 2).sum(0) / (centered**2).sum(0)).mean()
    assert found.score(model) == pytest.approx(expected, abs=1e-5)
    assert found.label_loss(model) is not None


def test_without_test_data_a_half_of_the_validation_data_is_kept_apart(teacher):
    found = make_problem(teacher, TRAIN, VALIDATION)
    assert found.held_out
    assert (len(found.validation), len(found.test)) == (50, 50)
    both = np.concatenate([found.validation.x, found.test.x])
    assert set(map(tuple, both)) == set(map(tuple, VALIDATION[0]))


def test_without_labels_the_predictions_of_the_teacher_are_the_labels(teacher):
    found = make_problem(teacher, TRAIN[0], VALIDATION[0], labels=False)
    assert found.score(teacher) == 1
    assert found.label_loss(teacher) is None
    assert found.score_name == "agreement with the teacher"


def test_labels_that_are_not_used_are_left_out(teacher):
    found = make_problem(teacher, TRAIN, VALIDATION, TEST, labels=False)
    assert found.train.y is None
    assert found.validation.y is not None


@pytest.mark.parametrize(
    ("train", "validation", "test", "message"),
    [
        (TRAIN[0], VALIDATION, TEST, "`train` has no labels. Pass labels=False"),
        (TRAIN, VALIDATION, TEST[0], "`validation` has labels and `test` has none"),
        (TRAIN, (X[:1], Y[:1]), None, "`validation` must have at least two samples"),
    ],
)
def test_data_that_do_not_fit_are_rejected(teacher, train, validation, test, message):
    with pytest.raises(ValueError, match=message):
        make_problem(teacher, train, validation, test)


def test_weights_need_labels(teacher):
    with pytest.raises(ValueError, match="`train` has sample weights"):
        make_problem(teacher, (*TRAIN, TRAIN[1] * 1.0), VALIDATION, TEST, labels=False)


def test_an_output_that_nothing_tells_must_be_declared():
    with pytest.raises(ValueError, match=r"It is not known what the output.*outputs='classes'"):
        make_problem(network(3), X, X, labels=False)
    with pytest.raises(ValueError, match="the labels contradict it. Declare it with `outputs`"):
        make_problem(network(3), (X, SCORES), (X, SCORES), outputs="logits")
    assert make_problem(network(3), X, X, labels=False, outputs="classes").task == "classes"


def test_what_is_no_number_is_worse_than_any_score():
    assert as_number(Score(accuracy=0.5, task="classes")) == 0.5
    assert as_number(Score(r2=float("nan"), task="values")) == float("-inf")
    assert as_number(Score()) == float("-inf")
