import numpy as np
import pytest

from keras_kd.losses import DIST
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
@pytest.mark.parametrize(
    ("name", "arguments"), [("dist_b1_g1", (1, 1, 1)), ("dist_b2_g2_T4", (2, 2, 4))]
)
def test_it_gives_the_numbers_of_the_reference(name, arguments, file, dtype):
    golden_numbers.assert_golden(DIST(*arguments), name, "logits", file, dtype)


def test_a_student_with_scaled_teacher_logits_has_a_small_loss():
    teacher, student, _ = golden_numbers.taps("golden_a", "logits")
    flatter, _ = value_and_gradient(DIST(gamma=0.0), teacher, 0.5 * teacher)
    other, _ = value_and_gradient(DIST(gamma=0.0), teacher, student)
    assert flatter.mean() < 0.2 * other.mean()


def test_every_pixel_of_a_map_is_a_row():
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 3, 4, 5, 6))
    values, _ = value_and_gradient(DIST(), teacher, student)
    rows, _ = value_and_gradient(DIST(), teacher.reshape(-1, 6), student.reshape(-1, 6))
    np.testing.assert_allclose(values, rows.reshape(3, -1).mean(-1))


def test_a_single_sample_relates_only_its_classes():
    teacher, student, _ = golden_numbers.taps("golden_a", "logits")
    both, gradient = value_and_gradient(DIST(), teacher[:1], student[:1])
    alone, _ = value_and_gradient(DIST(gamma=0.0), teacher[:1], student[:1])
    np.testing.assert_array_equal(both, alone)
    assert np.isfinite(gradient).all()
