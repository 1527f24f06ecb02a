import numpy as np
import pytest

from keras_kd.losses import PearsonFeatures
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
def test_it_gives_the_numbers_of_the_reference(dtype):
    golden_numbers.assert_golden(PearsonFeatures("a", "b"), "pkd", "features", "golden_c", dtype)


def test_it_is_one_minus_the_correlation_of_each_channel():
    teacher, student, _ = golden_numbers.taps("golden_c", "features")
    expected = golden_numbers.load("golden_c")["out/pkd_exact/loss"]
    count = teacher[..., 0].size
    found, _ = value_and_gradient(PearsonFeatures("a", "b"), teacher, student)
    np.testing.assert_allclose(found.mean() * count / (count - 1), expected, rtol=1e-5)


def test_scale_and_offset_of_a_channel_change_nothing_and_constants_are_finite():
    teacher, student, _ = golden_numbers.taps("golden_c", "features")
    loss, scale = PearsonFeatures("a", "b"), np.linspace(1, 30, student.shape[-1])
    values, _ = value_and_gradient(loss, teacher, student)
    moved, _ = value_and_gradient(loss, teacher, student * scale - 4)
    np.testing.assert_allclose(moved, values, rtol=1e-5)
    student[..., :2] = 3.0
    values, gradient = value_and_gradient(loss, teacher, student)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
