"""What changes from the teacher to the student, class by class."""

import numpy as np

from keras_kd.report.changes import Changes, ClassChange, Confusion

LABELS = np.array([0, 0, 1, 1, 2, -1])
TEACHER = np.array([0, 1, 1, 1, 0, 0])
STUDENT = np.array([0, 0, 2, 2, 0, 1])


def changes(classes=3):
    counted = Changes(classes)
    for rows in (slice(0, 3), slice(3, None)):
        counted.update(LABELS[rows], TEACHER[rows], STUDENT[rows])
    return counted


def test_gains_and_losses_are_counted_by_class_on_labeled_samples():
    assert changes().by_class() == (
        ClassChange(2, 1, 0),
        ClassChange(2, 0, 2),
        ClassChange(1, 0, 0),
    )


def test_the_confusions_of_both_models_are_counted():
    assert changes().confusions() == (
        Confusion(0, 0, 1, 2),
        Confusion(0, 1, 1, 0),
        Confusion(1, 1, 2, 0),
        Confusion(1, 2, 0, 2),
        Confusion(2, 0, 1, 1),
    )


def test_of_many_classes_only_the_errors_of_the_student_are_kept_most_frequent_first():
    assert changes(21).confusions() == (Confusion(1, 2, 0, 2), Confusion(2, 0, 1, 1))
    labels = np.repeat(np.arange(100), 2)
    many = Changes(100)
    many.update(labels, labels, (labels + 1) % 100)
    assert len(many.confusions()) == 50
    perfect = Changes(100)
    perfect.update(labels, labels, labels)
    assert perfect.confusions() == ()
