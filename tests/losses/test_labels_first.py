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


def test_the_errors_are_moving_averages_over_the_steps():
    loss, log_q = loss_of_classes(), -np.log(np.exp(STUDENT) / np.exp(STUDENT).sum(1)[:, None])
    error = log_q[np.arange(6), Y][Y >= 0].sum() / 6
    loss.compare(None, TEACHER, STUDENT, Y)  # Not while it teaches.
    assert loss.measured is None
    loss.measure()
    for student in (STUDENT, 0 * STUDENT):
        loss.compare(None, TEACHER, student, Y)
    second = np.log(3) * 5 / 6
    expected = error, (0.95 * error + second) / 1.95, 1 / 6
    found = loss.measured
    np.testing.assert_allclose((found.first, found.student, found.unlabeled), expected, rtol=1e-6)
    loss.updates_state = False  # In an evaluation.
    loss.compare(None, TEACHER, STUDENT, Y)
    assert loss.measured == found


LABELED, RIGHT = np.array([0, 2, 1, 1]), np.eye(3, dtype="float32")[[0, 2, 1, 1]]


@pytest.mark.parametrize(("scale", "joins"), [(2.4, True), (2.2, False)])
def test_a_teacher_joins_if_its_error_is_less_than_a_third_of_the_students(scale, joins):
    loss = loss_of_classes()
    loss.measure()
    loss.compare(None, scale * RIGHT, RIGHT, LABELED)
    assert loss.decide() is joins
    assert (float(loss.teaching), float(loss.measuring), loss.is_decided) == (joins, 0, True)
    expected = joins * np.asarray(SoftTargets(1.0)(scale * RIGHT, RIGHT))
    found = loss.compare(None, scale * RIGHT, RIGHT, LABELED)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    loss.restart()
    assert (float(loss.teaching), loss.is_decided) == (1, False)


def test_a_teacher_that_did_not_join_teaches_samples_without_a_label():
    loss, inner = loss_of_classes(), SoftTargets(1.0)
    loss.measure()
    loss.compare(None, 0 * RIGHT, RIGHT, LABELED)
    assert not loss.decide()
    everything = np.asarray(inner(TEACHER, STUDENT))
    found = loss.compare(None, TEACHER, STUDENT, Y)
    np.testing.assert_allclose(found, np.where(Y < 0, everything, 0), rtol=1e-6)
    np.testing.assert_allclose(loss.compare(None, TEACHER, STUDENT), everything, rtol=1e-6)


def test_a_teacher_joins_if_some_samples_have_no_label():
    loss = loss_of_classes()
    loss.measure()
    loss.compare(None, 0 * RIGHT, RIGHT, np.array([0, 2, 1, -1]))
    assert loss.decide()


@pytest.mark.parametrize(("scale", "joins"), [(9.0, True), (1.5, False)])
def test_a_teacher_joins_if_the_student_may_know_the_labels_by_heart(scale, joins):
    loss = loss_of_classes()
    loss.measure()
    for _ in range(60):
        loss.compare(
            None, 0 * RIGHT, 0 * RIGHT if loss.measured is None else scale * RIGHT, LABELED
        )
    assert loss.measured.first == pytest.approx(np.log(3), rel=1e-6)
    assert loss.decide() is joins


def test_without_labels_nothing_is_measured_and_the_teacher_joins():
    loss = loss_of_classes()
    loss.measure()
    loss.compare(None, TEACHER, STUDENT, np.full(6, -1))
    assert loss.decide()


def test_outputs_that_are_not_finite_are_not_measured():
    loss = loss_of_classes()
    loss.measure()
    loss.compare(None, TEACHER, np.full_like(STUDENT, np.nan), Y)
    assert loss.measured is None
