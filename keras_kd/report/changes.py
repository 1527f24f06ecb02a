"""What changes from the teacher to the student, class by class."""

from dataclasses import dataclass

import numpy as np

from keras_kd.training.labels import UNLABELED

#: Classes up to which all confusions are kept, and the number that is kept of more classes.
MAX_MATRIX, _MAX_PAIRS = 20, 50


@dataclass(frozen=True)
class ClassChange:
    """Predictions of teacher and student for the samples of a class.

    Attributes:
        samples: Number of samples with this label.
        gained: Number of those that the student predicts correctly and the teacher does not.
        lost: Number of those that the teacher predicts correctly and the student does not.
    """

    samples: int
    gained: int
    lost: int


@dataclass(frozen=True)
class Confusion:
    """How often samples of one class are predicted as another one, or as their own.

    Attributes:
        label: Their class.
        predicted: The predicted class.
        teacher: Number of such predictions of the teacher.
        student: Number of such predictions of the student.
    """

    label: int
    predicted: int
    teacher: int
    student: int


class Changes:
    """Counts the predictions of teacher and student by class, updated batch by batch.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._gained, self._lost = np.zeros((2, classes), "int64")
        self._teacher, self._student = np.zeros((2, classes, classes), "int64")

    def update(self, labels: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> None:
        """Add a batch: labels and predicted classes, one per prediction."""
        known = labels != UNLABELED
        labels, teacher, student = labels[known], teacher[known], student[known]
        np.add.at(self._teacher, (labels, teacher), 1)
        np.add.at(self._student, (labels, student), 1)
        np.add.at(self._gained, labels[(student == labels) & (teacher != labels)], 1)
        np.add.at(self._lost, labels[(teacher == labels) & (student != labels)], 1)

    def by_class(self) -> tuple[ClassChange, ...]:
        """Return the changes of each class."""
        rows = zip(self._student.sum(1), self._gained, self._lost, strict=True)
        return tuple(ClassChange(*map(int, row)) for row in rows)

    def confusions(self) -> tuple[Confusion, ...]:
        """Return the cells of the confusion matrices.

        Of more than 20 classes, only the most frequent confusions of the student are returned.
        """
        if len(self._student) <= MAX_MATRIX:
            places = np.argwhere(self._student + self._teacher)
        else:
            errors = self._student * ~np.eye(len(self._student), dtype=bool)
            places = np.argwhere(errors)
            order = np.argsort(-errors[tuple(places.T)], kind="stable")
            places = places[order[:_MAX_PAIRS]]
        return tuple(
            Confusion(int(i), int(j), int(self._teacher[i, j]), int(self._student[i, j]))
            for i, j in places
        )
