import keras
import numpy as np
import pytest

from keras_kd.losses import DIST, LabelsFirst, SoftTargets

RNG = np.random.default_rng(0)
TEACHER, STUDENT = (RNG.normal(size=(6, 3)).astype("float32") for _ in range(2))
Y = np.array([0, 2, 1, 1, -1, 0])


def loss_of_classes(**kwargs):
    loss = LabelsFirst(SoftTargets(1.0), **kwargs)
    loss.set_task("classes")
    return loss


def number(variable):
    return float(keras.ops.convert_to_numpy(variable))


def test_alone_it_is_the_loss_within():
    loss, inner = LabelsFirst(DIST(weight=0.5)), DIST()
    assert (float(loss.weight), loss.name, loss.tasks) == (0.5, "labels_first", inner.tasks)
    for labels in (None, Y):
        expected = inner.compare(None, TEACHER, STUDENT, labels)
        np.testing.assert_array_equal(loss.compare(None, TEACHER, STUDENT, labels), expected)


def test_while_it_measures_only_unlabeled_samples_are_taught():
    loss = loss_of_classes()
    expected = np.where(Y < 0, SoftTargets(1.0)(TEACHER, STUDENT), 0)
    loss.measure()
    np.testing.assert_allclose(loss.compare(None, TEACHER, STUDENT, Y), expected, rtol=1e-6)
    # A batch without any labels.
    everything = SoftTargets(1.0)(TEACHER, STUDENT)
    np.testing.assert_allclose(loss.compare(None, TEACHER, STUDENT), everything, rtol=1e-6)


def test_the_errors_are_moving_averages_of_the_labeled_samples():
    loss, log_q = loss_of_classes(), -np.log(np.exp(STUDENT) / np.exp(STUDENT).sum(1)[:, None])
    error = log_q[np.arange(6), Y][Y >= 0].sum() / 6
    loss.compare(None, TEACHER, STUDENT, Y)  # Not while it teaches.
    assert number(loss.student_error) == 0
    loss.measure()
    for _ in range(2):
        loss.compare(None, TEACHER, STUDENT, Y)
    np.testing.assert_allclose(number(loss.student_error), (1 - 0.95**2) * error, rtol=1e-6)
    loss.updates_state = False  # In an evaluation.
    loss.compare(None, TEACHER, STUDENT, Y)
    np.testing.assert_allclose(number(loss.student_error), (1 - 0.95**2) * error, rtol=1e-6)


@pytest.mark.parametrize(("scale", "joins"), [(2.4, True), (2.2, False)])
def test_a_teacher_joins_if_its_error_is_less_than_a_third_of_the_students(scale, joins):
    loss, right = loss_of_classes(), np.eye(3, dtype="float32")[Y]
    loss.measure()
    loss.compare(None, scale * right, right, Y)
    assert loss.decide() is joins
    assert (float(loss.teaching), float(loss.measuring), loss.is_decided) == (joins, 0, True)
    expected = joins * np.asarray(SoftTargets(1.0)(scale * right, right))
    np.testing.assert_allclose(loss.compare(None, scale * right, right, Y), expected, rtol=1e-6)
    loss.restart()
    assert (float(loss.teaching), loss.is_decided) == (1, False)


def test_without_labels_nothing_is_measured_and_the_teacher_joins():
    loss = loss_of_classes()
    loss.measure()
    loss.compare(None, TEACHER, STUDENT, np.full(6, -1))
    assert loss.decide()


def test_outputs_that_are_not_finite_are_not_measured():
    loss = loss_of_classes()
    loss.measure()
    loss.compare(None, TEACHER, np.full_like(STUDENT, np.nan), Y)
    assert (number(loss.student_error), number(loss.teacher_error)) == (0, 0)
