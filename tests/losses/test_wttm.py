import numpy as np
import pytest

from keras_kd.losses import WTTM, SoftTargets
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
@pytest.mark.parametrize("gamma", [0.1, 0.2, 0.25])
def test_it_gives_the_numbers_of_the_reference(gamma, dtype):
    golden_numbers.assert_golden(WTTM(gamma), f"wttm_l{gamma}", "logits", "golden_c", dtype)


def test_without_a_power_it_is_the_divergence_at_temperature_one():
    teacher, student, _ = golden_numbers.taps("golden_c", "logits")
    expected = value_and_gradient(SoftTargets(temperature=1.0), teacher, student)
    for found, wanted in zip(
        value_and_gradient(WTTM(1.0), teacher, student), expected, strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_it_is_zero_where_the_student_has_the_softened_teacher():
    teacher, _, _ = golden_numbers.taps("golden_c", "logits")
    np.testing.assert_allclose(np.asarray(WTTM(0.5)(teacher, 0.5 * teacher)), 0, atol=1e-7)
