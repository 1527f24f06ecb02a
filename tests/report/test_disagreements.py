"""The samples for which teacher and student predict different classes."""

import numpy as np
import pytest

from keras_kd.report.disagreements import Disagreements

TEACHER = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.6, 0.4]])
STUDENT = np.array([[0.2, 0.8], [0.4, 0.6], [0.1, 0.9], [0.4, 0.6]])


def collect(limit, x=None, labels=(0, -1, 1, 0), logs=True):
    found = Disagreements(limit)
    for rows in (slice(0, 3), slice(3, None)):
        outputs = [
            (p[rows].argmax(-1), np.log(p[rows]) if logs else None) for p in (TEACHER, STUDENT)
        ]
        images = None if x is None else x[rows]
        found.update(images, np.asarray(labels)[rows], *outputs)
    return found


def test_the_largest_differences_come_first_then_the_first_samples():
    found = collect(2)
    assert found.count == 3
    first, second = found.samples()
    assert (first.position, first.label, first.teacher, first.student) == (0, 0, 0, 1)
    assert first.teacher_probability == pytest.approx(0.9)
    assert first.student_probability == pytest.approx(0.8)
    assert (second.position, second.label) == (1, None)


def test_none_are_kept_with_a_limit_of_zero():
    found = collect(0)
    assert (found.count, found.samples()) == (3, ())


def test_without_probabilities_the_first_samples_are_kept():
    samples = collect(2, logs=False).samples()
    assert [(s.position, s.teacher_probability) for s in samples] == [(0, None), (1, None)]


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.full((4, 5, 5), 0.5), 0.5),
        (np.full((4, 5, 5, 3), 51, "uint8"), 0.2),
        (np.linspace(-1, 1, 4 * 25).reshape(4, 5, 5, 1), None),
    ],
)
def test_images_are_scaled_to_the_range_from_0_to_1(x, expected):
    image = collect(1, x).samples()[0].image
    assert image.shape[:2] == (5, 5)
    assert (image.min(), image.max()) == pytest.approx((expected or 0, expected or 1))


@pytest.mark.parametrize("shape", [(4, 7), (4, 5, 5, 2), (4, 3, 5, 1)])
def test_other_samples_have_no_image(shape):
    assert collect(1, np.zeros(shape)).samples()[0].image is None
